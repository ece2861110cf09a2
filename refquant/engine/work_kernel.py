"""What every thread of a program does: take tickets, and do their items (program.py explains).

`work` is the one function that Python calls to run a network. It takes addresses and whole
numbers only, so that it can be kept as machine code that needs no Numba (native.py).
"""

from typing import Any

from refquant.engine.conv_kernel import conv_item
from refquant.engine.head_kernel import decode_item
from refquant.engine.jit import absorbed
from refquant.engine.maps_kernel import (
    add_item,
    border_item,
    copy_item,
    max_pool_item,
    upsample_item,
)
from refquant.engine.simd import fetch_add, load_int, record_at
from refquant.engine.steps import (
    ADD,
    BORDER,
    CONV,
    COPY,
    DECODE,
    LINE,
    MAX_POOL,
    STEP,
    UPSAMPLE,
)

PATIENCE = 20_000  # looks at the counter, about 0.2 ms
TAKEN, DONE = 0, LINE  # the counters, a cache line each
SIZE = STEP.itemsize
step_at = record_at(STEP)


@absorbed
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


def work(steps: int, first: int, last: int, counters: int, scratch: int, ticket: int) -> int:
    """Take tickets below `last` and do their items; -1 at the end, or a ticket to come back with.

    steps     address of the steps
    first     address of (steps + 1,) int64: the first ticket of every step, and how many there are
    counters  address of the counters
    scratch   address of this thread's scratch memory
    ticket    one that was given back, or -1
    """
    n = 0
    while True:
        if ticket < 0:
            ticket = fetch_add(counters + TAKEN, 1)
        if ticket >= last:
            return -1
        while ticket >= load_int(first + 8 * (n + 1)):
            n += 1
        looks = 0
        while fetch_add(counters + DONE, 0) < load_int(first + 8 * n):
            looks += 1
            if looks == PATIENCE:
                return ticket
        run_item(step_at(steps + n * SIZE), ticket - load_int(first + 8 * n), scratch)
        fetch_add(counters + DONE, 1)
        ticket = -1
