"""Writers that are killed, or run out of space: the old file or the new one, never a part."""

import ctypes
import hashlib
import os
import resource
import subprocess
import sys

import pytest
from file_server import serving
from kill_points import Job
from killed_jobs import STUDY, jobs, killed, summary
from small_model import saved, small_model

from refquant.arrays import atomic
from refquant.arrays.atomic import atomic_path, host
from refquant.arrays.errors import BadInput

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


@pytest.fixture(scope="module")
def server():
    with serving() as made:
        yield made


VERBS = ("convert", "quantize", "fetch", "evaluate", "golden", "export", STUDY)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path, server, verb):
    """Ten moments each, and the next run leaves nothing else; bench/security/kills.md has more."""
    made = jobs(tmp_path, server)
    assert tuple(made) == VERBS
    arguments, output, old = made[verb]
    report = killed(10, arguments, output, old)
    found = summary(report)
    assert verb == STUDY or list(report["files"]) == [output.name]
    assert found["killed"] == 10
    # study writes results.json after each configuration, and pictures after the last
    assert found["old"] + found["absent"] + found["interim"] >= 5
    assert found["with other files"]  # some died in the middle of writing
    assert (found["broken"], found["not mended"], found["left behind"]) == (0, 0, 0)


def test_a_file_that_is_neither_old_nor_new_is_broken(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    job = Job([], tmp_path / "x", b"old")
    new = hashlib.sha256(b"new").hexdigest()
    versions = [hashlib.sha256(b"half").hexdigest(), new]
    found = [job.state(versions)]
    for content in (b"new", b"ne", b"", b"half"):
        job.output.write_bytes(content)
        found.append(job.state(versions))
    job.put_back()
    assert found == ["old", "new", "broken", "broken", "interim"]
    assert job.output.read_bytes() == b"old"
    assert Job([], tmp_path / "y", None).state(versions) == "absent"


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


def test_a_leftover_that_cannot_be_removed_is_left(tmp_path, monkeypatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".x.h5.{host()}-{dead.pid}.abcd_123.tmp"
    left.mkdir()  # what unlink cannot remove, as it cannot another user's
    with atomic_path(tmp_path / "x.h5") as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "x.h5").read_bytes() == b"new"
    assert left.exists()


def test_whose_process_cannot_be_asked_is_taken_to_live(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(atomic.os, "kill", refuse)
    assert atomic.is_alive(1)
    monkeypatch.setattr(atomic.os, "name", "nt")
    assert atomic.is_alive(1)


def without_privileges() -> None:
    """Root gives up the right to pass over permissions, so that they hold for this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    drop, override, search = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if os.geteuid() == 0 and any(libc.prctl(drop, c, 0, 0, 0) for c in (override, search)):
        raise OSError(ctypes.get_errno(), "prctl")


def permitted(arguments: list[object]) -> subprocess.CompletedProcess:
    """A run of refquant to which permissions apply."""
    command = [sys.executable, "-m", "refquant", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, preexec_fn=without_privileges
    )


@pytest.mark.skipif(sys.platform != "linux", reason="root's privileges are those of Linux")
@pytest.mark.parametrize("mode", (0o500, 0o100, 0o000), ids=oct)
def test_a_folder_without_permission_is_one_line_and_exit_3(tmp_path, mode):
    source = saved(small_model(), tmp_path)
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "old.h5").write_bytes(b"an older file")
    folder.chmod(mode)
    done = permitted(["convert", source, "-o", folder / "old.h5"])
    folder.chmod(0o700)
    assert (done.returncode, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    assert "old.h5: cannot be written (Permission denied)" in line
    assert os.listdir(folder) == ["old.h5"]
    assert (folder / "old.h5").read_bytes() == b"an older file"


@pytest.mark.skipif(sys.platform != "linux", reason="root's privileges are those of Linux")
@pytest.mark.parametrize("name", ("small.h5", "x.pt", "x.onnx", "x.safetensors", "x.weights"))
def test_a_file_that_may_not_be_read_is_one_line_and_exit_3(tmp_path, name):
    source = saved(small_model(), tmp_path, "small.h5").rename(tmp_path / name)
    source.chmod(0o200)
    done = permitted(["convert", source, "-o", tmp_path / "new.h5"])
    assert (done.returncode, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    assert f"{name}: cannot be read (Permission denied)" in line
    assert os.listdir(tmp_path) == [name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with (
        pytest.raises(BadInput, match=r"cannot be written \(Permission denied\)"),
        atomic_path(tmp_path / "x"),
    ):
        pass


def test_a_failure_while_writing_leaves_the_old_file_alone(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    with (
        pytest.raises(BadInput, match=r"x: cannot be written \(No space left"),
        atomic_path(tmp_path / "x") as temporary,
    ):
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(BadInput, match=r"cannot be written \(Not a directory\)"),
        atomic_path(tmp_path / "file" / "x"),
    ):
        pass
