"""What every thread of a program does: it takes tickets and does their items (program.py).

`work` is the one function that Python calls to run a model. It takes addresses and whole numbers
only, so that it can be kept as machine code that needs no Numba (native.py).
"""

from refquant.engine.conv_kernel import conv_item, pool_at
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
    RECORDS,
    STEP,
    UPSAMPLE,
)

PATIENCE = 20_000  # how often a thread looks at the counter before it returns, about 0.2 ms
TAKEN, DONE = 0, LINE  # where the counters are, each in a cache line of its own
SIZE = STEP.itemsize
step_at, conv_at, upsample_at = map(record_at, (STEP, RECORDS[CONV], RECORDS[UPSAMPLE]))
add_at, copy_at, border_at, decode_at = (
    record_at(RECORDS[kind]) for kind in (ADD, COPY, BORDER, DECODE)
)


@absorbed
def run_item(place: int, item: int, scratch: int) -> None:
    """Do one item of the step at that address."""
    step = step_at(place)
    if step.kind == CONV:
        conv_item(conv_at(place), item, scratch)
    elif step.kind == MAX_POOL:
        max_pool_item(pool_at(place), item, scratch)
    elif step.kind == UPSAMPLE:
        upsample_item(upsample_at(place), item)
    elif step.kind == ADD:
        add_item(add_at(place), item)
    elif step.kind == COPY:
        copy_item(copy_at(place), item)
    elif step.kind == BORDER:
        border_item(border_at(place), item)
    elif step.kind == DECODE:
        decode_item(decode_at(place), item, scratch)


def work(steps: int, first: int, last: int, counters: int, scratch: int, ticket: int) -> int:
    """Take tickets below `last` and do their items; gives -1, or a ticket to come back with.

    steps     the address of the steps
    first     the address of (steps + 1,) int64: every step's first ticket, and how many there are
    counters  the address of the counters
    scratch   the address of this thread's scratch memory
    ticket    a ticket that an earlier call gave, or -1
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
        run_item(steps + n * SIZE, ticket - load_int(first + 8 * n), scratch)
        fetch_add(counters + DONE, 1)
        ticket = -1
