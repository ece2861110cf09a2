"""`kernel`: a jitted function that is compiled once per machine and is never out of date.

Numba keeps compiled functions on disk: in the folder NUMBA_CACHE_DIR if that is set, otherwise in
__pycache__ beside the source, or in the user's cache folder where that cannot be written. Three
things need care:

* Numba compiles anew when the function's own file changes, and looks at no other, while a kernel
  is made of several files. So the function's name, under which it is kept, has a hash of them all.
* Numba refuses to decorate where nothing can be written at all. Then nothing is kept, and
  everything works.
* Compiling takes seconds. A line on stderr says so the first time in a process.
"""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import event

from refquant.engine.compiled import OPTIONS, announce, digest_of_parts


def kernel(function: Callable) -> Any:
    """Decorate an entry point that Python calls; the functions that it calls are `inner`."""
    function.__qualname__ = f"{function.__qualname__}_{digest_of_parts()}"
    try:
        jitted = njit(function, cache=True, **OPTIONS)
    except RuntimeError:  # there is no folder that can be written
        jitted = njit(function, **OPTIONS)
    _Announcer.kernels.add(jitted)
    return jitted


def inner(function: Callable) -> Any:
    """Decorate a function that only kernels call; it becomes a part of them."""
    return njit(function, **OPTIONS)


def inlined(function: Callable) -> Any:
    """Decorate as `inner` does a function that must not cost a call."""
    return njit(function, forceinline=True, **OPTIONS)


def absorbed(function: Callable) -> Any:
    """Decorate as `inner` does a function that one kernel calls in one place.

    It becomes part of the caller's text and is never compiled by itself, which would take seconds
    more for a large one.
    """
    return njit(function, inline="always", **OPTIONS)


class _Announcer(event.Listener):
    """Says that a kernel is being compiled; Numba tells it about every compilation."""

    kernels: set[Any] = set()  # noqa: RUF012

    def on_start(self, what: Any) -> None:
        if what.data.get("dispatcher") in self.kernels:
            announce()

    def on_end(self, what: Any) -> None:
        pass


event.register("numba:compile", _Announcer())
