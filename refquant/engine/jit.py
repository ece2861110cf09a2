"""`kernel`: a jitted function, compiled once per machine, which says so and is never out of date.

Numba keeps compiled functions on disk: in __pycache__ beside the source where that may be
written, otherwise in the user's cache folder, or where NUMBA_CACHE_DIR points. Three things need
care:

* It recompiles when the function's own file changes, and looks at no other; but a kernel is made
  of several files. So the function's name, under which it is kept, carries a hash of them all.
* Where nothing can be written at all it refuses to decorate. Then nothing is kept, and all works.
* Compiling takes seconds. A line on stderr says so, the first time in a process.
"""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import event

from refquant.engine.compiled import OPTIONS, announce, digest_of_parts


def kernel(function: Callable) -> Any:
    """Decorate an entry point that Python calls; what it calls in turn is plain `inner` code."""
    function.__qualname__ = f"{function.__qualname__}_{digest_of_parts()}"
    try:
        jitted = njit(function, cache=True, **OPTIONS)
    except RuntimeError:  # no folder that can be written
        jitted = njit(function, **OPTIONS)
    _Announcer.kernels.add(jitted)
    return jitted


def inner(function: Callable) -> Any:
    """Decorate a function that only kernels call; it becomes a part of them."""
    return njit(function, **OPTIONS)


def inlined(function: Callable) -> Any:
    """As `inner`, for what must not cost a call."""
    return njit(function, forceinline=True, **OPTIONS)


def absorbed(function: Callable) -> Any:
    """As `inner`, for what one kernel calls in one place: it becomes part of the caller's text,
    and is never compiled by itself, which would take a large one seconds more.
    """
    return njit(function, inline="always", **OPTIONS)


class _Announcer(event.Listener):
    """Says that a kernel is being compiled; Numba tells it of every compilation."""

    kernels: set[Any] = set()  # noqa: RUF012

    def on_start(self, what: Any) -> None:
        if what.data.get("dispatcher") in self.kernels:
            announce()

    def on_end(self, what: Any) -> None:
        pass


event.register("numba:compile", _Announcer())
