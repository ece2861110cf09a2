"""The error of exp, SiLU, sigmoid and leaky over all 2**32 float32 inputs.

    python -m bench.accuracy.activation_error

y is the result, exact the function in float64 of the same x (glibc's exp, within 1 ulp there).

    |exact| >= 2**-126     error in ulp = |y - exact| / ulp(exact), ulp: the spacing of float32
    |exact| <  2**-126     error in units of 2**-149, the spacing of subnormals
    |exact| >= 2**128 - 2**103     rounds to inf: y must be inf
    x <= -88.72284         SiLU and sigmoid are 0 by definition (activation.py): the absolute error
    x is NaN               y must be the canonical NaN

The jitted functions are measured; tests/ops/test_activation.py says that they have the bits of
the definition. `leaky` is held to x * float32(0.1) in float64. Takes a few minutes; writes
activation_error.md.
"""

import math
import sys
from pathlib import Path

import numpy as np
from numba import njit

from refquant.engine import activation_loops as loops
from refquant.ops.activation import SLOPE

REPORT = Path(__file__).with_suffix(".md")
CHUNK = 1 << 24
NORMAL, UNIT, LARGEST = 2.0**-126, 2.0**-149, 2.0**128 - 2.0**103
CANONICAL_NAN = np.uint32(0x7FC00000)
SLOPE_64 = float(SLOPE)
TAIL = float(np.float32(-88.72284))  # from here on exp(-x) overflows in float32


@njit
def exp_loop(x):
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = loops.exp(x[i])
    return y


@njit
def exact_exp(x):
    return math.exp(min(x, 700.0))


@njit
def exact_sigmoid(x):
    e = math.exp(-abs(x))
    return (1.0 if x >= 0 else e) / (1.0 + e)


@njit
def exact_silu(x):
    return -0.0 if x == -np.inf else x * exact_sigmoid(x)


@njit
def exact_leaky(x):
    return x if x > 0 else x * SLOPE_64


def measurer(exact):
    """The jitted function that measures a chunk: worst errors, where, and how many are wrong."""

    @njit
    def measure(x, y, worst, nan_is_nan, tail):
        bits = y.view(np.uint32)
        for i in range(x.size):
            value = np.float64(x[i])
            if value != value:
                if nan_is_nan and bits[i] != CANONICAL_NAN:
                    worst[4] += 1
                continue
            truth = exact(value)
            if value <= tail:
                worst[5] = max(worst[5], abs(np.float64(y[i]) - truth))
                continue
            size = abs(truth)
            if size >= LARGEST:
                if not (np.isinf(y[i]) and (y[i] > 0) == (truth > 0)):
                    worst[4] += 1
                continue
            # size = m * 2**e, 1/2 <= m < 1, where the spacing of float32 is 2**(e - 24).
            spacing = math.ldexp(1.0, math.frexp(size)[1] - 24) if size >= NORMAL else UNIT
            error = abs(np.float64(y[i]) - truth) / spacing
            k = 0 if size >= NORMAL else 2
            if not error <= worst[k]:
                worst[k] = error
                worst[k + 1] = value

    return measure


# exp alone is never given NaN: those who call it decide (activation.py).
FUNCTIONS = {
    "exp": (exp_loop, exact_exp, -math.inf, False),
    "silu": (loops.silu_loop, exact_silu, TAIL, True),
    "sigmoid": (loops.sigmoid_loop, exact_sigmoid, TAIL, True),
    "leaky": (loops.leaky_loop, exact_leaky, -math.inf, True),
}


def all_inputs(name: str) -> np.ndarray:
    """[worst ulp, its x, worst in 2**-149, its x, wrong special values, worst in the tail]."""
    fast, exact, tail, nan_is_nan = FUNCTIONS[name]
    measure, worst = measurer(exact), np.zeros(6)
    for first in range(0, 1 << 32, CHUNK):
        x = (np.arange(CHUNK, dtype=np.uint32) + np.uint32(first)).view(np.float32)
        measure(x, fast(x), worst, nan_is_nan, tail)
        if sys.stderr.isatty():
            print(f"\r{name} {100 * first >> 32} %", end="", file=sys.stderr)
    return worst


COLUMNS = ("function", "worst error in ulp", "at x", "worst, in 2**-149", "at x")
COLUMNS += ("wrong special values", "worst for x <= -88.72284")


def main() -> None:
    lines = [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
    for name in FUNCTIONS:
        ulp, x, units, below, wrong, tail = all_inputs(name)
        at = [np.format_float_scientific(np.float32(value), unique=True) for value in (x, below)]
        far = f"{tail:.3e}" if math.isfinite(FUNCTIONS[name][2]) else "-"
        cells = (name, f"{ulp:.4f}", at[0], f"{units:.4f}", at[1], f"{wrong:.0f}", far)
        lines.append(f"| {' | '.join(cells)} |")
    head = "# The error of the activations, over all 2**32 inputs\n\n"
    head += "Written by `python -m bench.accuracy.activation_error`; "
    head += "its docstring says what columns mean.\n\n"
    REPORT.write_text(head + "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
