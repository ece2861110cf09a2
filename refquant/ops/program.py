"""Runs steps on several threads, without returning to Python in between.

Every item of every step has a number, its ticket; tickets count through the steps in order. A
thread takes the next ticket, waits until all items of earlier steps are done, does the item,
reports it:

    ticket = taken++                                 atomically
    wait until done >= tickets of earlier steps      then all of them are done, since no item of
    do the item                                      this step or a later one can be before that
    done++                                           atomically, after its stores

A thread that has waited for long hands its ticket back to Python, which yields the processor and
calls again: with more threads than cores the others get on, and Ctrl-C is heard.

The order in which items are done is left to chance. No bit depends on it, because no two items
of a step write the same float and none reads what another of its step writes.
"""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from refquant.ops.blocked import LINE, aligned
from refquant.ops.native import code_of
from refquant.ops.steps import PANEL, STEP
from refquant.ops.subnormals import warn_if_flushed

STOP = 1 << 62
WORK = ("refquant.ops.work_kernel", "work", 6)  # the jitted part: module, function, arguments


class Program:
    """Steps, ready to run on `threads` threads; the maker keeps what their addresses point to."""

    def __init__(
        self, steps: Iterable[NDArray[np.void]], threads: int, scratch_bytes: int
    ) -> None:
        self.steps = np.concatenate([np.zeros(0, STEP), *steps])
        self.threads = threads
        self.first = np.concatenate(([0], np.cumsum(self.steps["items"]))).astype(np.int64)
        self.counters = aligned((2, LINE), np.uint8)
        size = -(-(PANEL + scratch_bytes) // 4096) * 4096  # threads do not share pages
        self.scratch = aligned((threads, size), np.uint8)
        self.work = code_of(*WORK).call
        self.pool = None
        if threads > 1:
            self.pool = ThreadPoolExecutor(threads - 1, "refquant", initializer=warn_if_flushed)

    def run(self, begin: int = 0, end: int | None = None) -> None:
        """Run steps begin ... end - 1, by default all."""
        first, last = self.first[begin], self.first[len(self.steps) if end is None else end]
        counts = self.counters.view(np.int64)
        counts[:, 0] = first  # taken, done
        others = []
        if self.pool is not None:
            others = [
                self.pool.submit(self.thread, number, int(last))
                for number in range(1, self.threads)
            ]
        try:
            self.thread(0, int(last))
        except BaseException:
            counts[:, 0] = STOP  # the ticket of this thread is lost, and nobody may wait for it
            raise
        finally:
            for other in others:
                other.result()

    def thread(self, number: int, last: int) -> None:
        """What one thread does."""
        scratch = self.scratch.ctypes.data + number * self.scratch.shape[1]
        addresses = (array.ctypes.data for array in (self.steps, self.first, self.counters))
        steps, first, counters = addresses
        ticket = self.work(steps, first, last, counters, scratch, -1)
        while ticket >= 0:
            time.sleep(0)
            ticket = self.work(steps, first, last, counters, scratch, ticket)
