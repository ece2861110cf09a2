"""Flush-to-zero is noticed: in this thread, in threads made by it, and at the start of a run."""

import ctypes
import ctypes.util
import platform
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from refquant.engine.subnormals import flushed, warn_if_flushed
from refquant.engine.walk import run, walk
from refquant.graph.architecture import build

FTZ, DAZ = 1 << 15, 1 << 6  # bits of the control register MXCSR

on_x86_linux = pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.system() != "Linux",
    reason="the switch is set by glibc's fenv_t, whose layout is that of x86-64 Linux",
)


@contextmanager
def switched_on(bits: int) -> Iterator[None]:
    """Set bits of this thread's MXCSR, as a library compiled with -ffast-math does."""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    before, changed = (ctypes.c_uint32 * 8)(), (ctypes.c_uint32 * 8)()
    libm.fegetenv(before)
    libm.fegetenv(changed)
    changed[7] |= bits  # fenv_t: 28 bytes of the x87 unit, then MXCSR
    libm.fesetenv(changed)
    try:
        yield
    finally:
        libm.fesetenv(before)


def test_nothing_is_flushed_as_a_rule():
    assert flushed() == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_flushed()


@on_x86_linux
@pytest.mark.parametrize(
    ("bits", "names"), [(FTZ, ("FTZ",)), (DAZ, ("DAZ",)), (FTZ | DAZ, ("FTZ", "DAZ"))]
)
def test_each_switch_is_noticed(bits, names):
    with switched_on(bits):
        seen = flushed()
    assert seen == names
    assert flushed() == ()


@on_x86_linux
def test_a_new_thread_inherits_the_switches():
    seen = []
    with switched_on(FTZ):
        thread = threading.Thread(target=lambda: seen.append(flushed()))
        thread.start()
        thread.join()
    assert seen == [("FTZ",)]


@on_x86_linux
@pytest.mark.parametrize("arithmetic", ["fast", "ref"])
def test_a_run_warns_when_subnormals_are_flushed(arithmetic):
    model = build("yolov7-tiny", 1 / 8)
    x = np.zeros((1, 3, 32, 32), np.float32)
    with switched_on(FTZ | DAZ):
        with pytest.warns(
            RuntimeWarning, match="flush-to-zero is on in this process .FTZ and DAZ"
        ):
            run(model, x, arithmetic=arithmetic)
        with pytest.warns(RuntimeWarning, match="subnormal numbers become 0"):
            next(walk(model, x, arithmetic=arithmetic))
