"""The most multiply-adds that cores can do: nothing but fused multiply-adds, in registers.

16 independent sums of 16 lanes, so that latency (4 cycles, two per cycle on the CPUs of
interest) never waits; 2 * 16 * 16 floating-point operations per round. The best of many short
runs counts, since whatever else the machine does can only make it slower.

    python -m bench.speed.peak    of one core, and of two at once, which may do less than twice
                                  as much
"""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from refquant.engine.jit import kernel
from refquant.engine.simd import fma, load, store

SUMS, ROUNDS, RUNS = 16, 2_000_000, 40
LINE = 64


@kernel
def rounds(place: int, count: int) -> None:
    """`count` rounds; place: 18 aligned lines, the sums, x and w."""
    x, w = load(place + 16 * LINE), load(place + 17 * LINE)
    a, b, c, d = load(place), load(place + 64), load(place + 128), load(place + 192)
    e, f, g, h = load(place + 256), load(place + 320), load(place + 384), load(place + 448)
    i, j, k, l = load(place + 512), load(place + 576), load(place + 640), load(place + 704)
    m, n, o, p = load(place + 768), load(place + 832), load(place + 896), load(place + 960)
    for _ in range(count):
        a, b, c, d = fma(x, w, a), fma(x, w, b), fma(x, w, c), fma(x, w, d)
        e, f, g, h = fma(x, w, e), fma(x, w, f), fma(x, w, g), fma(x, w, h)
        i, j, k, l = fma(x, w, i), fma(x, w, j), fma(x, w, k), fma(x, w, l)
        m, n, o, p = fma(x, w, m), fma(x, w, n), fma(x, w, o), fma(x, w, p)
    total = a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p
    store(place, total)


def peak(threads: int = 1) -> float:
    """Floating-point operations per second of that many cores at once."""
    from refquant.engine.blocked import aligned

    memories = [aligned((18, 16), np.float32) for _ in range(threads)]
    places = [memory.ctypes.data for memory in memories]
    rounds(places[0], 1)
    best = np.inf
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(RUNS):
            start = time.perf_counter()
            list(pool.map(rounds, places, [ROUNDS] * threads))
            best = min(best, time.perf_counter() - start)
    return threads * 2 * 16 * SUMS * ROUNDS / best


if __name__ == "__main__":
    for threads in (1, 2):
        print(f"{threads} cores: {peak(threads) / 1e9:.1f} GFLOP/s")
