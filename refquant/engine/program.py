"""Runs steps on several threads, without returning to Python in between.

Every item of every step has a number, its ticket; tickets count through the steps in order. A
thread takes the next ticket, waits until all items of earlier steps are done, does the item, and
reports it:

    ticket = taken++                              atomically                                (1)
    wait until done >= tickets of earlier steps                                             (2)
    do the item                                                                             (3)
    done++                                        atomically, after the item's stores       (4)

After (2) all items of earlier steps are done, since before it no item of this step or of a later
one can have been done.

A thread that has waited for long hands its ticket back to Python, which yields the processor and
calls again. So with more threads than cores the others get on, and Ctrl-C is heard.

When a run fails, be it by Ctrl-C, tickets end for all threads, and the error is raised only when
the last thread has left its item, because the memory to which items write goes next. A thread that
begins after that finds no ticket. The program is not run again.

The order in which items are done is left to chance. No bit depends on it, because no two items
of a step write the same float, and none reads what another item of its step writes.
"""

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.engine.blocked import aligned
from refquant.engine.native import code_of
from refquant.engine.steps import LINE, STEP
from refquant.engine.subnormals import warn_if_flushed

STOP = 1 << 62
WORK = ("refquant.engine.work_kernel", "work", 6)  # the module, function and number of arguments


class Program:
    """Steps, ready to run on `threads` threads; the maker keeps the arrays to which they point."""

    def __init__(
        self, steps: Iterable[NDArray[np.void]], threads: int, scratch_bytes: int
    ) -> None:
        self.steps = np.concatenate([np.zeros(0, STEP), *steps])
        self.threads = threads
        self.first = np.concatenate(([0], np.cumsum(self.steps["items"]))).astype(np.int64)
        self.counters = aligned((2, LINE), np.uint8)
        size = -(-scratch_bytes // 4096) * 4096  # threads do not share pages
        self.scratch = aligned((threads, size), np.uint8)
        self.work = code_of(*WORK).call
        self.at_work = [threading.Lock() for _ in range(threads)]  # each thread holds its own
        self.pool = None
        if threads > 1:
            self.pool = ThreadPoolExecutor(threads - 1, "refquant", initializer=warn_if_flushed)

    def run(self, begin: int = 0, end: int | None = None) -> None:
        """Run steps begin ... end - 1, by default all of them."""
        first, last = self.first[begin], self.first[len(self.steps) if end is None else end]
        counts = self.counters.view(np.int64)
        counts[:, 0] = first  # both counters: taken and done
        try:
            others = [self.submit(number, int(last)) for number in range(1, self.threads)]
            self.thread(0, int(last))
            for other in others:
                other.result()
        except BaseException:
            counts[:, 0] = STOP  # nobody may wait for tickets that are lost
            self.wait()
            raise

    def submit(self, number: int, last: int) -> Future[None]:
        """Let one of the other threads begin."""
        assert self.pool is not None
        try:
            return self.pool.submit(self.thread, number, last)
        except RuntimeError as error:
            if "start new thread" not in str(error):
                raise
            raise BadInput(f"threads={self.threads}", str(error), "choose fewer") from error

    def wait(self) -> None:
        """Return when no other thread is in an item; another Ctrl-C does not cut that short."""
        busy = self.at_work[1:]
        while busy:
            try:
                with busy[-1]:
                    pass
                busy.pop()
            except KeyboardInterrupt:
                continue

    def thread(self, number: int, last: int) -> None:
        """Do what thread `number` does: items up to ticket `last` - 1, and hand tickets back."""
        scratch = self.scratch.ctypes.data + number * self.scratch.shape[1]
        addresses = (array.ctypes.data for array in (self.steps, self.first, self.counters))
        steps, first, counters = addresses
        with self.at_work[number]:
            ticket = self.work(steps, first, last, counters, scratch, -1)
            while ticket >= 0:
                time.sleep(0)
                ticket = self.work(steps, first, last, counters, scratch, ticket)
