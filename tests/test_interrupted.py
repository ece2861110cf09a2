"""Writers that are killed, or run out of space: the old file or the new one, never a part."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from small_model import saved, small_model

from refquant.arrays import atomic
from refquant.arrays.atomic import atomic_path, host
from refquant.arrays.errors import BadInput

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
HERE = Path(__file__).parent


def kill(points: int, folder: Path, output: Path, *arguments: object) -> dict:
    """What kill_points.py reports."""
    command = [sys.executable, HERE / "kill_points.py", points, folder, output, *arguments]
    done = subprocess.run([str(a) for a in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("verb", ("convert", "quantize"))
def test_a_verb_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path, verb):
    """Fifty moments each; leftovers of the dead go with the next run."""
    source = saved(small_model(), tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    output = folder / "model.h5"
    output.write_bytes(b"an older file")
    report = kill(50, folder, output, verb, source, "-o", output)
    assert report["before"] != report["whole"]
    killed = [point for point in report["points"] if point[1] == -9]
    assert len(killed) == 50
    for _, _, digest, names in killed:
        assert digest == report["whole"]  # of the run before, which was left alone
        assert "model.h5" in names
    assert any(len(names) == 2 for *_, names in killed)  # some died in the middle of writing
    assert all(len(names) <= 2 for *_, names in killed)
    assert report["names"] == ["model.h5"]


def limited(arguments: list[object], limit: int) -> subprocess.CompletedProcess:
    """A run of refquant that may write no file of more than `limit` bytes."""

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "refquant", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limits)


@pytest.mark.parametrize("verb", ("convert", "quantize"))
def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path, verb):
    source = saved(small_model(), tmp_path, "small.h5")
    (tmp_path / "old.h5").write_bytes(b"an older file")
    done = limited([verb, source, "-o", tmp_path / "old.h5"], 1000)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert "old.h5: cannot be written (File too large)" in line
    assert (tmp_path / "old.h5").read_bytes() == b"an older file"
    assert sorted(os.listdir(tmp_path)) == ["old.h5", "small.h5"]


def test_leftovers_of_the_dead_are_removed_and_those_of_others_are_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = {
        "dead": f".x.h5.{host()}-{dead.pid}.abcd_123.tmp",
        "alive": f".x.h5.{host()}-{os.getppid()}.abcd_123.tmp",
        "elsewhere": f".x.h5.{host()}other-{dead.pid}.abcd_123.tmp",
        "another file": f".y.h5.{host()}-{dead.pid}.abcd_123.tmp",
        "no number": f".x.h5.{host()}-1x.abcd_123.tmp",
    }
    for name in names.values():
        (tmp_path / name).touch()
    with atomic_path(tmp_path / "x.h5") as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "x.h5").read_bytes() == b"new"
    left = {key for key, name in names.items() if (tmp_path / name).exists()}
    assert left == set(names) - {"dead"}


def test_whose_process_cannot_be_asked_is_taken_to_live(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(atomic.os, "kill", refuse)
    assert atomic.is_alive(1)
    monkeypatch.setattr(atomic.os, "name", "nt")
    assert atomic.is_alive(1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with (
        pytest.raises(BadInput, match=r"cannot be written \(Permission denied\)"),
        atomic_path(tmp_path / "x"),
    ):
        pass


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(BadInput, match=r"cannot be written \(Not a directory\)"),
        atomic_path(tmp_path / "file" / "x"),
    ):
        pass
