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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.ops.blocked import LINE, aligned
from refquant.ops.conv_kernel import PANEL, conv_item
from refquant.ops.head_kernel import decode_item
from refquant.ops.jit import inner, kernel
from refquant.ops.maps_kernel import (
    add_item,
    border_item,
    copy_item,
    max_pool_item,
    upsample_item,
)
from refquant.ops.simd import fetch_add
from refquant.ops.steps import (
    ADD,
    BORDER,
    CONV,
    COPY,
    DECODE,
    MAX_POOL,
    STEP,
    UPSAMPLE,
)
from refquant.ops.subnormals import warn_if_flushed

PATIENCE = 20_000  # looks at the counter, about 0.2 ms
TAKEN, DONE = 0, LINE  # the counters, a cache line each
STOP = 1 << 62


@inner
def run_item(step: Any, item: int, scratch: int) -> None:
    """Do one item of a step."""
    if step.kind == CONV:
        conv_item(step, item, scratch)
    elif step.kind == MAX_POOL:
        max_pool_item(step, item, scratch)
    elif step.kind == UPSAMPLE:
        upsample_item(step, item)
    elif step.kind == ADD:
        add_item(step, item)
    elif step.kind == COPY:
        copy_item(step, item)
    elif step.kind == BORDER:
        border_item(step, item)
    elif step.kind == DECODE:
        decode_item(step, item, scratch)


@kernel
def work(
    steps: NDArray[np.void],
    first: NDArray[np.int64],
    last: int,
    counters: int,
    scratch: int,
    ticket: int,
) -> int:
    """Take tickets below `last` and do their items; -1 at the end, or a ticket to come back with.

    first   (steps + 1,) int64: the first ticket of every step, and the number of tickets
    ticket  one that was given back, or -1
    """
    n = 0
    while True:
        if ticket < 0:
            ticket = fetch_add(counters + TAKEN, 1)
        if ticket >= last:
            return -1
        while ticket >= first[n + 1]:
            n += 1
        looks = 0
        while fetch_add(counters + DONE, 0) < first[n]:
            looks += 1
            if looks == PATIENCE:
                return ticket
        run_item(steps[n], ticket - first[n], scratch)
        fetch_add(counters + DONE, 1)
        ticket = -1


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
        counters = self.counters.ctypes.data
        ticket = work(self.steps, self.first, last, counters, scratch, -1)
        while ticket >= 0:
            time.sleep(0)
            ticket = work(self.steps, self.first, last, counters, scratch, ticket)
