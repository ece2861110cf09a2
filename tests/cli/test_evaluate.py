"""`refquant evaluate` from outside: resuming, interrupting, failing images, workers, comparing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from cells_data import make_cells
from PIL import Image
from places import ROOT
from white_cells import white_cells

from refquant.cli.main import main
from refquant.formats.catalogue import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "cells.h5"
    save_model(white_cells(), path)
    return path


@pytest.fixture
def cells(tmp_path):
    return make_cells(tmp_path / "data", 6)


def run(capsys, *arguments, code=0):
    """stdout and stderr of a run that must leave with the code."""
    assert main(["evaluate", *map(str, arguments)]) == code
    return capsys.readouterr()


def report(capsys, *arguments, code=0):
    return json.loads(run(capsys, *arguments, "--json", code=code).out)


def test_both_protocols_by_name(capsys, model, cells):
    options = [model, "--data", cells, "--size", 96]
    square = report(capsys, *options)
    public = report(capsys, *options, "--protocol", "yolov7", "--batch", 2)
    assert square["images"] == public["images"] == 6
    assert square["failed"] == public["failed"] == []
    assert square["AP"] != public["AP"]


def test_results_are_written_and_the_log_is_gone(capsys, model, cells, tmp_path):
    results = tmp_path / "r.json"
    run(capsys, model, "--data", cells, "--size", 96, "--results", results)
    assert len(json.loads(results.read_text())) > 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "r.json"]


def test_unreadable_images_are_counted_and_mended_ones_complete_the_run(
    capsys, model, cells, tmp_path
):
    options = [model, "--data", cells, "--size", 96, "--results"]
    whole = run(capsys, *options, tmp_path / "whole.json")
    image = cells / "val" / "3.png"
    pixels = image.read_bytes()
    image.write_bytes(pixels[:200])
    found = report(capsys, *options, tmp_path / "r.json", code=3)
    (failure,) = found["failed"]
    assert failure["image"] == "3.png"
    assert "3.png: is a damaged image" in failure["error"]
    results = json.loads((tmp_path / "r.json").read_text())
    assert {r["image_id"] for r in results} == {1, 2, 4, 5, 6}
    image.write_bytes(pixels)
    again = run(capsys, *options, tmp_path / "r.json")
    assert (again.out, again.err) == (whole.out, "")
    assert (tmp_path / "r.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_the_text_says_how_many_failed_and_how_to_go_on(capsys, model, cells, tmp_path):
    Image.new("RGB", (300, 7)).save(cells / "val" / "3.png")
    (cells / "val" / "5.png").write_bytes(b"no image")
    options = [model, "--data", cells, "--size", 96]
    captured = run(capsys, *options, "--results", tmp_path / "r.json", code=3)
    first, last = captured.err.splitlines()
    assert "5.png" in first
    assert last.startswith("refquant: 1 of 6 images could not be read")
    assert "r.json.partial" in last
    assert "failed" in captured.out


def test_the_log_of_another_model_is_one_line(capsys, model, cells, tmp_path):
    results = tmp_path / "r.json"
    (cells / "val" / "3.png").write_bytes(b"no image")
    run(capsys, model, "--data", cells, "--size", 96, "--results", results, code=3)
    captured = run(capsys, model, "--data", cells, "--size", 64, "--results", results, code=3)
    (line,) = captured.err.splitlines()
    assert "r.json.partial: is the log of another run (differs in: protocol)" in line
    assert captured.out == ""


def test_a_run_compared_with_itself_is_not_to_be_told_apart(capsys, model, cells, tmp_path):
    options = [model, "--data", cells, "--size", 96]
    run(capsys, *options, "--results", tmp_path / "r.json")
    found = report(capsys, *options, "--compare", tmp_path / "r.json")["comparison"]
    assert (found["difference"], found["low"], found["high"]) == (0, 0, 0)
    assert found["verdict"] == "not to be told apart"
    other = run(capsys, *options[:3], "--size", 128, "--compare", tmp_path / "r.json").out
    assert "95% interval" in other
    assert "an interval one point wide needs about" in other


def test_results_of_other_data_cannot_be_compared(capsys, model, cells, tmp_path):
    (tmp_path / "r.json").write_text(
        '[{"image_id": 77, "category_id": 4, "bbox": [0, 0, 1, 1], "score": 1}]'
    )
    captured = run(capsys, model, "--data", cells, "--compare", tmp_path / "r.json", code=3)
    assert "the data set has no image 77" in captured.err


@pytest.mark.parametrize("name", ["", "."])
def test_results_that_are_a_folder_are_told_before_anything_is_computed(capsys, model, name):
    captured = run(capsys, model, "--data", "nowhere", "--results", name, code=3)
    assert captured.err == ("refquant: .: is a folder: name a file, such as results.json\n")


def test_worker_processes_give_the_same_file(capsys, model, cells, tmp_path):
    options = [model, "--data", cells, "--size", 96, "--protocol", "yolov7", "--results"]
    run(capsys, *options, tmp_path / "one.json")
    run(capsys, *options, tmp_path / "two.json", "--workers", 2)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_workers_and_a_cluster_exclude_each_other(capsys, model, cells):
    options = ["--workers", 2, "--dask", "tcp://127.0.0.1:9"]
    assert "leave out one of the two" in run(capsys, model, "--data", cells, *options, code=3).err


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_file(capsys, model, cells, tmp_path):
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    options = [model, "--data", cells, "--size", 96, "--results"]
    run(capsys, *options, tmp_path / "one.json")
    with distributed.LocalCluster(n_workers=2, dashboard_address=":0") as cluster:
        run(capsys, *options, tmp_path / "two.json", "--dask", cluster.scheduler_address)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


INTERRUPTED = """
import sys, time
import refquant.detection.tasks as tasks
plain = tasks.read_image
def slow(path):
    time.sleep(0.2)
    return plain(path)
tasks.read_image = slow
from refquant.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(capsys, model, cells, tmp_path):
    options = ["evaluate", model, "--data", cells, "--size", "96", "--results"]
    run(capsys, *options[1:], tmp_path / "whole.json")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", INTERRUPTED, *map(str, options), str(tmp_path / "r.json")]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "r.json.partial"
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > 2):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == (
        f"refquant: interrupted; what is done stands in {log}; the same command goes on from there"
    )
    done = log.read_bytes()
    run(capsys, *options[1:], tmp_path / "r.json")
    assert (tmp_path / "r.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert done.count(b"\n") < 8
    assert not log.exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_in_a_terminal_reaches_the_workers_too_and_they_end(capsys, model, tmp_path):
    data = make_cells(tmp_path / "many", 150)
    options = ["evaluate", model, "--data", data, "--size", "96", "--results"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "refquant", *map(str, options), str(tmp_path / "r.json")]
    process = subprocess.Popen(
        [*command, "--workers", "2"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group, as a terminal makes one
    )
    log = tmp_path / "r.json.partial"
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > 2):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)  # the pipes end when the last worker has ended
    assert (process.returncode, out) == (130, "")
    lines = [line for line in err.splitlines() if "compiling" not in line]
    assert len(lines) == 1
    assert "the same command goes on from there" in lines[0]
    run(capsys, *options[1:], tmp_path / "r.json")
    run(capsys, *options[1:], tmp_path / "whole.json")
    assert (tmp_path / "r.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files by POSIX")
def test_a_full_disk_is_one_line_and_loses_nothing(capsys, model, cells, tmp_path):
    options = [model, "--data", cells, "--size", 96, "--results"]
    run(capsys, *options, tmp_path / "whole.json")
    script = (
        "import resource, signal, sys\n"
        "from refquant.detection.tasks import compile_kernels\n"
        "from refquant.formats.catalogue import load_model\n"
        "compile_kernels(load_model(sys.argv[2]))\n"  # Numba writes files too
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))\n"
        "from refquant.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["evaluate", *map(str, options), str(tmp_path / "r.json")]
    done = subprocess.run(
        [sys.executable, "-B", "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = [line for line in done.stderr.splitlines() if "compiling" not in line]
    assert done.returncode == 3
    assert "r.json.partial: cannot be written (File too large): make room" in line
    run(capsys, *options, tmp_path / "r.json")
    assert (tmp_path / "r.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
