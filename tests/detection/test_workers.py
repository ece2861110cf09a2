"""Many workers, the same bytes: threads, processes that share one model, a real Dask cluster."""

import json
import os
import pickle
import signal
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor

import numpy as np
import pytest
from cells_data import OPTIONS, make_cells
from evaluations import finish, posix, program, wait_for
from small_model import quantized, small_model
from white_cells import white_cells

from refquant.arrays.errors import BadInput
from refquant.detection import tasks
from refquant.detection.dataset import find_dataset
from refquant.detection.evaluate import evaluate
from refquant.detection.predict import forward
from refquant.detection.tasks import SharedModel, open_shared, shared, write_shared
from refquant.detection.workers import dask_executor, process_pool
from refquant.graph.architecture import build


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return make_cells(tmp_path_factory.mktemp("cells") / "data")


@pytest.fixture(scope="module")
def alone(cells):
    return evaluate(white_cells(), find_dataset(cells), **OPTIONS)


@pytest.fixture(scope="module")
def two_processes():
    with process_pool(2) as executor:
        yield executor


@pytest.mark.parametrize("model", [small_model(), quantized(), quantized(bits=8)])
def test_a_shared_model_is_the_model(model, tmp_path):
    write_shared(model, tmp_path / "model")
    again = open_shared(tmp_path / "model")
    x = np.random.default_rng(1).random((1, 3, 32, 64), dtype=np.float32)
    assert np.array_equal(forward(again, x), forward(model, x))
    assert [node.name for node in again.nodes] == [node.name for node in model.nodes]


def test_an_unfolded_model_is_shared_as_well(tmp_path):
    model = build("yolov7-tiny", 0.02, classes=2, folded=False)
    write_shared(model, tmp_path / "model")
    x = np.random.default_rng(1).random((1, 3, 64, 64), dtype=np.float32)
    again = open_shared(tmp_path / "model")
    assert np.array_equal(forward(again, x), forward(model, x))


def test_a_shared_models_arrays_lie_in_the_file_and_cannot_be_changed(tmp_path):
    write_shared(small_model(), tmp_path / "model")
    model = open_shared(tmp_path / "model")
    panels = model.nodes[0].arrays["weight"].weight
    assert not panels.flags.writeable
    assert not panels.flags.owndata
    assert panels.ctypes.data % tasks.ALIGNMENT == 0
    assert open_shared(tmp_path / "model") is model  # once per process


def test_a_shared_model_travels_as_a_path(tmp_path):
    assert len(pickle.dumps(SharedModel(tmp_path / "model"))) < 500


def test_threads_use_the_model_itself_and_leave_no_file(tmp_path):
    model = small_model()
    with ThreadPoolExecutor(1) as executor, shared(model, executor, tmp_path) as ready:
        assert ready is model
        assert list(tmp_path.iterdir()) == []


def test_two_processes_give_the_same_predictions(cells, alone, two_processes, tmp_path):
    options = OPTIONS | {"executor": two_processes, "scratch": tmp_path}
    assert evaluate(white_cells(), find_dataset(cells), **options) == alone
    assert list(tmp_path.iterdir()) == []


def test_processes_continue_what_one_process_began(cells, alone, two_processes, tmp_path):
    log = tmp_path / "log"
    evaluate(white_cells(), find_dataset(cells), log=log, **OPTIONS)
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:5]))
    options = OPTIONS | {"executor": two_processes, "log": log}
    assert evaluate(white_cells(), find_dataset(cells), **options) == alone


def test_an_unreadable_image_is_reported_by_a_worker(two_processes, tmp_path):
    folder = make_cells(tmp_path / "data", 3)
    (folder / "val" / "2.png").write_bytes(b"no image")
    stats = evaluate(white_cells(), find_dataset(folder), executor=two_processes, size=96)
    assert [failure["image"] for failure in stats.failed] == ["2.png"]
    assert {r["image_id"] for r in stats.results} == {1, 3}


def test_a_worker_that_dies_is_told_in_one_line_and_what_is_done_is_kept(cells, tmp_path):
    with process_pool(1) as executor:
        # `os._exit` in the only worker, while the parent waits for images
        executor.submit(os._exit, 1)
        with pytest.raises(BadInput, match=r"workers: one of them died"):
            evaluate(
                white_cells(),
                find_dataset(cells),
                executor=executor,
                log=tmp_path / "log",
                **OPTIONS,
            )
    assert (tmp_path / "log").exists()


def test_a_worker_that_dies_while_images_are_handed_out_is_told_in_one_line_too(cells):
    handed_out: list[Future] = []

    class Broken(ThreadPoolExecutor):
        def submit(self, *arguments):
            if len(handed_out) == 3:
                raise BrokenExecutor("a child process terminated abruptly")
            handed_out.append(Future())  # nobody ever runs these
            return handed_out[-1]

    with (
        Broken(1) as executor,
        pytest.raises(BadInput, match=r"workers: one of them died"),
    ):
        evaluate(white_cells(), find_dataset(cells), executor=executor, **OPTIONS)
    assert all(future.cancelled() for future in handed_out)


def test_a_worker_ignores_ctrl_c(two_processes):
    assert two_processes.submit(signal.raise_signal, signal.SIGINT).exception() is None


def test_a_scratch_folder_that_workers_do_not_see_is_told(cells, two_processes, monkeypatch):
    monkeypatch.setattr(tasks, "write_shared", lambda model, path: None)
    with pytest.raises(BadInput, match="a worker does not see it: choose a scratch folder"):
        evaluate(white_cells(), find_dataset(cells), executor=two_processes, **OPTIONS)


@posix
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed_and_the_run_goes_on(cells, alone, tmp_path):
    process = program(cells, tmp_path, 0.05, 2)
    wait_for(process, 3)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    finish(process)
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}/exe") for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert finish(program(cells, tmp_path)) == ""
    assert json.loads((tmp_path / "results.json").read_text()) == list(alone.results)


def children(parent):
    """The process ids of a process's children."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stream:
                after_name = stream.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(after_name[1]) == parent:
            found.append(int(pid))
    return found


def test_no_workers_are_refused():
    with pytest.raises(BadInput, match="workers=0"), process_pool(0):
        pass


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_predictions(cells, alone, cluster, tmp_path):
    with dask_executor(cluster.scheduler_address) as executor:
        options = OPTIONS | {"executor": executor, "scratch": tmp_path, "log": tmp_path / "log"}
        assert evaluate(white_cells(), find_dataset(cells), **options) == alone
        assert evaluate(white_cells(), find_dataset(cells), **options) == alone


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_told(monkeypatch):
    pytest.importorskip("distributed", reason="distributed is not installed")
    monkeypatch.setattr("refquant.detection.workers.DASK_TIMEOUT", "1s")
    with (
        pytest.raises(BadInput, match="no Dask scheduler answers"),
        dask_executor("tcp://127.0.0.1:9"),
    ):
        pass


@pytest.mark.slow
def test_a_cluster_whose_workers_die_is_told_in_one_line():
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    dask = pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        pytest.raises(BadInput, match=r"tcp://.*: its workers die of a job"),
        dask_executor(cluster.scheduler_address) as executor,
    ):
        executor.submit(os._exit, 1).result()
