"""The breakpoint of piecewise linear quantization: where the centre ends and the tails begin.

m   the largest magnitude of a group, p the breakpoint, both in units of sigma; 0 < p < m
F   the distribution function, f the density, of variance 1: Gaussian or Laplacian

With the same number of levels in [0, p] and [p, m], the expected squared error is proportional to
    E(p) = (m - p)**2 + m * (2p - m) * (2F(p) - 1)                               (1)
It is convex on (0, m/2) and has its minimum where half of its derivative vanishes:
    g(p) = p - 2m * (1 - F(p)) - m * (m - 2p) * f(p) = 0                         (2)
    g'(p) = 1 + 4m * f(p) - m * (m - 2p) * f'(p)                                 (3)
g increases on (0, m/2) and g(0) < 0, so there is one root where g(m/2) > 0, that is F(m/2) > 3/4,
and else none. Fits of the root:
    p = ln(0.86143114 m + 0.607901097496529)              Gaussian, 3 <= m <= 10 (4)
    p = 0.80304483 sqrt(m) - 0.3166785508381478           Laplacian, 3 <= m <= 10 (5)

Rules, each with a name that `Breakpoints.case` carries:
    closed    p is that of (4) or (5)
    root      p is the root of (2): m is outside of [3, 10], or the exact root was asked for
    half      p = m / 2: there is no root, there are fewer than 2 weights, or sigma = 0
Error   The root is within 1e-12 of the exact one, in units of sigma; (4) and (5) are off by 0.0121
        and 0.0209 at most. m counts as at most 2**24, where breakpoints are raised anyway
        (piecewise.py).
Arithmetic  float64 from IEEE operations alone (elementary.py), the same on every machine; sigma is
        the unbiased standard deviation of the group, with sums taken in order.
Source  Fang et al. 2020, arXiv 2002.00104, section 3.3; they print p/m on the left of (4) and
        (5), which would put p beyond m.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.quant.elementary import exp, log, normal_density, normal_tail
from refquant.quant.scheme import Rows, Step
from refquant.quant.sums import mean_and_deviation

Float64 = NDArray[np.float64]

CLOSED, ROOT, HALF = 0, 1, 2
CASES = ("closed", "root", "half")
CLOSED_FROM, CLOSED_TO = 3.0, 10.0
# For m beyond WIDE sigma the fit is more than 0.3 off, so the bracket is halved first.
WIDE = 20.0
BISECTIONS = 12
NEWTONS = 6


class Density(NamedTuple):
    """A distribution of variance 1.

    parts(p)   the tail 1 - F, the density f and its slope f' at p >= 0
    fit(m)     (4) or (5)
    least      the m with F(m/2) = 3/4: there is a root only above it
    """

    parts: Callable[[Float64], tuple[Float64, Float64, Float64]]
    fit: Callable[[Float64], Float64]
    least: float


def gaussian_parts(p: Float64) -> tuple[Float64, Float64, Float64]:
    """The tail, density and slope of the normal distribution."""
    density = normal_density(p)
    return normal_tail(p, density), density, -p * density


def laplacian_parts(p: Float64) -> tuple[Float64, Float64, Float64]:
    """The tail, density and slope of the Laplacian distribution of variance 1."""
    fall = exp(-math.sqrt(2) * p)
    return fall / 2, fall / math.sqrt(2), -fall


GAUSSIAN = Density(
    gaussian_parts,
    fit=lambda m: log(0.86143114 * m + 0.607901097496529),  # (4)
    least=1.3489795003921634,  # twice the upper quartile of the normal distribution
)
LAPLACIAN = Density(
    laplacian_parts,
    fit=lambda m: 0.80304483 * np.sqrt(m) - 0.3166785508381478,  # (5)
    least=0.9802581434685471,  # sqrt(2) * ln 2
)


class Breakpoints(NamedTuple):
    """p (G, 1) float64 in units of the weights; case (G, 1) uint8, an index into CASES."""

    p: Float64
    case: NDArray[np.uint8]


def breakpoints(x: Rows, density: Density, exact: bool = False) -> Breakpoints:
    """The breakpoints of rows x (G, N); exact: the root wherever there is one."""
    largest = np.abs(x).max(axis=1, keepdims=True).astype(np.float64)
    _, sigma = mean_and_deviation(x)
    spread = sigma > 0
    m = np.minimum(largest / np.where(spread, sigma, 1.0), 2.0**24)
    fits = spread & (m >= CLOSED_FROM) & (m <= CLOSED_TO) & (not exact)
    has_root = spread & (m > density.least)
    case = np.where(fits, CLOSED, np.where(has_root, ROOT, HALF)).astype(np.uint8)
    p = largest / 2
    p[fits] = density.fit(m[fits]) * sigma[fits]
    rooted = case == ROOT
    p[rooted] = root(m[rooted], density) * sigma[rooted]
    return Breakpoints(p, case)


def explain_breakpoint(x: Rows, density: Density, exact: bool) -> list[Step]:
    """The numbers that decide the breakpoint of one row x (1, N)."""
    found = breakpoints(x, density, exact)
    _, sigma = mean_and_deviation(x)
    steps = [Step("sigma", sigma.item(), "deviation of the group")]
    if found.case.item() == HALF:
        return [*steps, Step("p / m", 0.5, "no root, breakpoint.py")]
    m, p = float(abs(x).max()) / sigma.item(), found.p.item() / sigma.item()
    closed = "(4)" if density is GAUSSIAN else "(5)"
    equation = closed if found.case.item() == CLOSED else "(2)"
    return [
        *steps,
        Step("m / sigma", m),
        Step("p / sigma", p, f"{CASES[found.case.item()]}, breakpoint.py {equation}"),
    ]


def root(m: Float64, density: Density) -> Float64:
    """The root of (2) in (0, m/2), for m above `least`: Newton's steps, kept within a bracket."""
    low, high = np.zeros_like(m), np.minimum(m / 2, 32.0)
    p = np.clip(density.fit(m), low, high)
    far = m > WIDE
    if far.any():  # the fit is no good start there
        low[far], high[far] = halved(low[far], high[far], m[far], density)
        p[far] = (low[far] + high[far]) / 2
    for _ in range(NEWTONS):
        value, rise = g(p, m, density)
        p = np.clip(p - value / rise, low, high)
    return p


def g(p: Float64, m: Float64, density: Density) -> tuple[Float64, Float64]:
    """Equations (2) and (3)."""
    tail, f, slope = density.parts(p)
    value = p - 2 * m * tail - m * (m - 2 * p) * f  # (2)
    return value, 1 + 4 * m * f - m * (m - 2 * p) * slope  # (3)


def halved(low: Float64, high: Float64, m: Float64, density: Density) -> tuple[Float64, Float64]:
    """The bracket after it was halved BISECTIONS times."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = g(middle, m, density)[0] < 0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low, high
