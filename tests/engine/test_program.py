"""A program on several threads: what fails is told when no thread writes to memory any more."""

import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
from arrays_of_interest import same_bits

from refquant.arrays.errors import BadInput
from refquant.engine import steps
from refquant.engine.program import Program

LINES, COPIES = 40, 3


def copies(source: np.ndarray, target: np.ndarray, *, threads: int) -> Program:
    """COPIES times the same: one line of 16 float32 per item, from an array to another."""
    planes = {"x_plane": 64, "y_plane": 64, "x_row": 64, "y_row": 64, "rows": 1, "columns": 1}
    ends = {"x": source.ctypes.data, "y": target.ctypes.data}
    step = steps.step(steps.UPSAMPLE, LINES, **ends, **planes, scale=1)
    return Program([step] * COPIES, threads, 0)


def lines() -> np.ndarray:
    """(LINES, 16) float32 on cache lines."""
    memory = np.zeros(LINES * 64 + 64, np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first : first + LINES * 64].view(np.float32).reshape(LINES, 16)


@pytest.fixture
def arrays():
    source = lines()
    source[:] = np.arange(LINES * 16).reshape(LINES, 16)
    return source, lines()


class AtWork:
    """A program's work, slow on other threads; says when the first of these came and went."""

    def __init__(self, program: Program) -> None:
        self.work, self.here = program.work, threading.get_ident()
        self.came, self.went = threading.Event(), threading.Event()

    def __call__(self, *numbers: int) -> int:
        if threading.get_ident() == self.here:
            return self.work(*numbers)
        self.came.set()
        time.sleep(0.1)
        try:
            return self.work(*numbers)
        finally:
            self.went.set()


def check_that_nothing_is_written(at_work: AtWork, target: np.ndarray) -> None:
    """Who was at work has gone, and who comes later finds nothing to do."""
    assert at_work.came.is_set()
    assert at_work.went.is_set()
    target[:] = 0
    time.sleep(0.3)
    assert not target.any()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_copy_of_forty_lines(arrays, threads):
    source, target = arrays
    copies(source, target, threads=threads).run()
    assert target[1, 2] == 18.0
    assert same_bits(target, source)


def test_a_thread_that_cannot_be_started_is_told_when_no_other_is_at_work(arrays, monkeypatch):
    program = copies(*arrays, threads=3)
    program.work = at_work = AtWork(program)
    start, started = threading.Thread.start, []

    def second_fails(thread: threading.Thread) -> None:
        if started:
            at_work.came.wait()
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", second_fails)
    with pytest.raises(BadInput, match=r"^threads=3: can't start new thread: choose fewer$"):
        program.run()
    check_that_nothing_is_written(at_work, arrays[1])


def test_ctrl_c_while_threads_begin_is_told_when_none_is_at_work(arrays):
    program = copies(*arrays, threads=2)
    program.work = at_work = AtWork(program)
    submit = program.pool.submit

    def interrupted(*arguments: object) -> Future:
        submit(*arguments)  # the thread begins, but nobody gets to know its future
        at_work.came.wait()
        raise KeyboardInterrupt

    program.pool.submit = interrupted
    with pytest.raises(KeyboardInterrupt):
        program.run()
    check_that_nothing_is_written(at_work, arrays[1])


def test_ctrl_c_while_others_do_their_last_items_is_told_when_none_is_at_work(arrays, monkeypatch):
    program = copies(*arrays, threads=2)
    program.work = at_work = AtWork(program)

    def interrupted(_future: Future, _timeout: object = None) -> None:
        at_work.came.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        program.run()
    check_that_nothing_is_written(at_work, arrays[1])


def test_a_second_ctrl_c_does_not_cut_the_wait_short(arrays):
    program = copies(*arrays, threads=2)
    outside, lock = [], threading.Lock()

    class Impatient:
        """A lock whose first holder-to-be is interrupted."""

        def __enter__(self) -> None:
            if not outside:
                outside.append("interrupted")
                raise KeyboardInterrupt
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            outside.append("waited")
            lock.release()

    program.at_work[1] = Impatient()
    program.wait()
    assert outside == ["interrupted", "waited"]
