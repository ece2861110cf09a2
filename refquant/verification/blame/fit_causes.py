"""Mistakes whose numbers the golden does not have: they are fitted, and what is left is judged.

Before the activation let z be right and z^ found (the activation undone where that is possible).

    batch norm      z^[f] = a[f] * z[f] + c[f] for every filter f                           (1)
                    left out: c = -a * b, b the folded bias, which the convolution did not have
                    wrong eps: 0.099 <= a / a' <= 10.05 with all a on one side of 1, where
                    sqrt((v + 1e-3) / (v + 1e-5)) lies between 1 and 10 for every v >= 0,
                    which is another one for another variance v, so that the a differ; and
                    c = (1 - a) * beta with |beta| <= the bias_magnitude that the golden has
    implicit layer  z^[f] = z[f] + c[f] (added), z^[f] = a[f] * z[f] (multiplied), at a head  (2)

    its constant    |b + c| + |c| <= bias_magnitude where it is missing, b - c where it is
                    applied twice: what was folded into the bias b had room for it          (3)

Slopes that nothing ties to these are no evidence of a batch norm: any gain of filters would do, a
constant map (a = 0) or scales of a quantizer. So no a may be near 0, and those of (1), left out,
and of (2) must differ from filter to filter, which one gain for all does not.

The unknowns come from least squares over the elements where the activation can be undone (SiLU
above 0, where it rises). The fit explains if what it leaves is at most LEFT bounds everywhere and
the fit improves the largest deviation at least IMPROVED times. Filters with n unknowns need
n + min(n, SPARE) elements, or they are left out; where that are most of them, nothing is claimed.
RepConv's branches are fitted in branch_causes.py.
"""

from collections.abc import Iterator

import numpy as np

from refquant.graph.graph import Node, array_of
from refquant.verification.blame.move_causes import identity
from refquant.verification.blame.trial import (
    Array,
    Cause,
    Inputs,
    Trial,
    with_arrays,
    with_attributes,
)
from refquant.verification.bounds import enclose
from refquant.verification.declared import Declared

LEFT = 16.0
IMPROVED = 100.0
MOST = 0.5  # of the filters: so many must be known, and concerned
CONCERNED = 16.0  # times what a fit leaves: far more than a fit takes from mere rounding
SPARE = 8
NEWTON_STEPS = 60
FLAT, SAME = 2.0**-10, 2.0**-10  # gains of less are none; gains that differ by less are one
ROOM = 2.0**-16  # of a fitted constant
UNLIKE = 0.02  # the slopes of another eps differ by so much of what the largest is off 1
EPS_RATIO = 10.05  # sqrt(1e-3 / 1e-5), and one half per cent


def before(node: Node, found: Array) -> tuple[Array, Array]:
    """z^ and where it is known: the activation of y^ undone."""
    y = np.asarray(found, np.float64)
    name = node.attributes.get("activation", "linear")
    if name == "leaky":
        return np.where(y > 0, y, 10 * y), np.isfinite(y)
    if name != "silu":
        return y, np.isfinite(y)
    known = np.isfinite(y) & (y > 0.05)
    target = np.where(known, y, 1.0)
    z = target + 0.2785  # SiLU(z) >= z - 0.2785: from above Newton's steps go down, convex there
    for _ in range(NEWTON_STEPS):
        s = 1 / (1 + np.exp(-z))
        step = (z * s - target) / (s * (1 + z * (1 - s)))
        z = z - step
        if step.max() <= 2.0**-50 * z.max():
            break
    return z, known


class Fit:
    """z, its bound, z^ and where it is known, as (F, elements)."""

    def __init__(self, node: Node, inputs: Inputs, found: Array, declared: Declared) -> None:
        y = enclose(with_attributes(node, activation="linear"), inputs, declared)
        whole = enclose(node, inputs, declared)
        self.ok = y.value.shape == found.shape and np.isfinite(whole.bound).all()
        if not self.ok:
            return
        F = found.shape[1]
        z, known = before(node, found)
        self.z, self.found, known = (a.swapaxes(0, 1).reshape(F, -1) for a in (y.value, z, known))
        # The slope of SiLU above 0 is at least a half, so undoing it doubles what it may be off.
        self.bound = 4 * (y.bound + whole.bound).swapaxes(0, 1).reshape(F, -1) + 2.0**-40
        self.bound = self.bound + 2.0**-22 * abs(self.found)
        self.known = known & np.isfinite(self.z)

    def explains(self, fitted: Array) -> bool:
        """Whether (F, elements) in the place of z leaves only roundings."""
        left = np.where(self.known, abs(self.found - fitted), 0)
        whole = np.where(self.known, abs(self.found - self.z), 0)
        scale = np.maximum(1, abs(fitted) / np.maximum(abs(self.z), 2.0**-60)).clip(1, 64)
        good = (left <= LEFT * self.bound * scale).all()
        # A mistake in the algebra concerns all filters; what hits a few is another one.
        concerned = (whole > self.bound).any(axis=1)
        concerned |= whole.max(axis=1) > CONCERNED * left.max(axis=1)
        good &= np.mean(concerned) >= MOST
        return bool(good and whole.max() >= IMPROVED * max(left.max(), 2.0**-60))

    def enough(self, unknowns: int) -> bool:
        """Leave out filters with too few elements; whether most of them stay."""
        stay = self.known.sum(1) >= unknowns + min(unknowns, SPARE)
        self.known = self.known & stay[:, None]
        return bool(stay.mean() >= MOST)

    def lines(self) -> tuple[Array, Array] | None:
        """a (F,) and c (F,) of equation (1); None where there are too few elements."""
        if not self.enough(2):
            return None
        counts = np.maximum(self.known.sum(1), 1)
        zero = np.where(self.known, 1.0, 0.0)
        mean_z, mean_y = ((v * zero).sum(1) / counts for v in (self.z, self.found))
        dz = (self.z - mean_z[:, None]) * zero
        variance = (dz**2).sum(1)
        slope = (dz * (self.found - mean_y[:, None])).sum(1) / np.maximum(variance, 1e-300)
        return slope, mean_y - slope * mean_z

    def offsets(self) -> Array:
        """c (F,) of equation (2)."""
        counts = np.maximum(self.known.sum(1), 1)
        return np.where(self.known, self.found - self.z, 0).sum(1) / counts


def offset(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
    """Equation (2), the added layer alone."""
    fit = Fit(node, inputs, found, declared)
    if not fit.ok or not fit.enough(2):
        return False
    return fit.explains(fit.z + fit.offsets()[:, None])


def is_head(node: Node) -> bool:
    return node.attributes["activation"] == "linear" and "bias" in node.arrays


def implicit_add(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
    """Equation (2), the added layer: c must have had room in what was folded, (3)."""
    if not is_head(node) or not offset(node, inputs, found, declared):
        return False
    if "bias_magnitude" not in node.arrays:
        return True
    fit = Fit(node, inputs, found, declared)
    filters = fit.known.any(1)
    names = ("bias", "bias_magnitude")
    bias, most = (np.asarray(array_of(node.arrays[n]), np.float64)[filters] for n in names)
    c = fit.offsets()[filters]
    most = 1.001 * most + ROOM * (1 + abs(bias))
    return any((abs(bias + sign * c) + abs(c) <= most).all() for sign in (1, -1))


def shift_wrong(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
    return not is_head(node) and offset(node, inputs, found, declared)


def implicit_multiply(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
    """Equation (2), the multiplied layer: lines through the origin."""
    fit = Fit(node, inputs, found, declared)
    return bool(is_head(node) and fit.ok and fit.enough(2) and through_origin(fit, fit.z))


def through_origin(fit: Fit, x: Array) -> bool:
    """Whether z^ = a x explains what was found, with gains that layers have."""
    products, squares = (np.where(fit.known, v * x, 0).sum(1) for v in (fit.found, x))
    slope = products / np.maximum(squares, 1e-300)
    known = slope[fit.known.any(1)]
    different = np.ptp(known) > SAME * abs(known).max(initial=0) and (abs(known) > FLAT).all()
    return bool(different and fit.explains(slope[:, None] * x))


def line(
    node: Node, inputs: Inputs, found: Array, declared: Declared
) -> tuple[Array, Array, Array] | None:
    """a and c of equation (1), and of which filters they are; None where they explain nothing."""
    fit = Fit(node, inputs, found, declared)
    lines = fit.lines() if fit.ok else None
    if lines is None:
        return None
    slope, constant = lines
    filters = np.asarray(fit.known.any(1))
    explains = fit.explains(slope[:, None] * fit.z + constant[:, None])
    return (slope[filters], constant[filters], filters) if explains else None


def wrong_eps(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
    """Equation (1) with slopes and constants that another eps can have."""
    if is_head(node):
        return False
    fit = line(node, inputs, found, declared)
    if fit is None or not of_eps(fit[0]):
        return False
    if "bias_magnitude" not in node.arrays:
        return True
    beta = np.asarray(array_of(node.arrays["bias_magnitude"]), np.float64)[fit[2]]
    return bool((abs(fit[1]) <= 1.01 * abs(1 - fit[0]) * beta + ROOM * (1 + beta)).all())


def of_eps(slope: Array) -> bool:
    """Whether one other eps can give all these slopes: they differ, as variances do."""
    up, down = slope.min() >= 1 - 1e-6, slope.max() <= 1 + 1e-6
    within = (slope <= EPS_RATIO).all() and (slope >= 1 / EPS_RATIO).all()
    differ = np.ptp(slope) > UNLIKE * abs(slope - 1).max()
    return bool((up or down) and within and differ)


def left_out(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
    """Equation (1) with c = -a * b."""
    fit = Fit(node, inputs, found, declared)
    if is_head(node) or "bias" not in node.arrays or not fit.ok or not fit.enough(2):
        return False
    return through_origin(
        fit, fit.z - np.asarray(array_of(node.arrays["bias"]), np.float64)[:, None]
    )


def batch_norm_trials(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """At a batch norm of an unfolded golden: exact trials."""
    for eps in (1e-5, 1e-4, 1e-3, 1e-2, 1e-6):
        if eps != node.attributes["eps"]:
            yield Trial(with_attributes(node, eps=eps), inputs)


def identity_trial(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """The node left out."""
    yield Trial(identity(node), inputs)


def twice_trial(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """An implicit layer applied twice."""
    implicit = np.asarray(node.arrays["implicit"], np.float64)
    twice = 2 * implicit if node.op == "add_channel" else implicit**2
    yield Trial(with_arrays(node, implicit=twice), inputs)


IMPLICIT = ("add_channel", "multiply_channel")
FIT_CAUSES = (
    Cause("batch norm missing", ("batch_norm",), identity_trial),
    Cause("wrong eps of the batch norm", ("batch_norm",), batch_norm_trials),
    Cause("implicit layer missing", IMPLICIT, identity_trial),
    Cause("implicit layer applied twice", IMPLICIT, twice_trial),
    Cause("implicit addition missing or applied twice", ("conv",), fits=implicit_add),
    Cause("implicit multiplication missing or applied twice", ("conv",), fits=implicit_multiply),
    Cause("another constant per filter: shift of the batch norm", ("conv",), fits=shift_wrong),
    Cause("batch norm not folded or folded wrongly", ("conv",), fits=left_out),
    Cause("wrong eps of the batch norm", ("conv",), fits=wrong_eps),
)
