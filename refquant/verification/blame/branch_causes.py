"""Mistakes at a RepConv, whose branches the golden has folded into one kernel.

y = SiLU(batch norm of a 3x3 convolution + batch norm of a 1x1 one [+ batch norm of x]). Of the
folded kernel the taps around the middle are the 3x3 branch's, scaled by its batch norm; the middle
is a sum that cannot be taken apart again. So before the activation, filter by filter,

    z^ - z = D x + c          a 1x1 convolution of the input and a constant: the 1x1 branch or the
                              identity is missing, or added twice                           (1)
    z^ = a * around + D x     the batch norms are left out                                  (2)
    z^ = a * around + D x + c they are of another eps, where all a can be of one          (3)

    z       (F, elements)   right, before the activation;  z^ likewise, found
    around  (F, elements)   z without bias and without the middles of the kernels
    x       (C, elements)   the input;  D (F, C), a and c (F,) are fitted

by least squares, and judged as in fit_causes.py. There are more unknowns than input channels, so
the smallest maps of a network need a larger image, or the cause stays unknown.
"""

import numpy as np

from refquant.graph.graph import Node
from refquant.verification.blame.fit_causes import FLAT, Fit, of_eps
from refquant.verification.blame.trial import Array, Cause, Inputs, weight_of
from refquant.verification.bounds_conv import sums
from refquant.verification.declared import Declared


def branch_missing(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
    """Equation (1)."""
    return by_pixel(node, inputs, found, declared, middle=True) is not None


def branches_left_out(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
    """Equation (2)."""
    slope = by_pixel(node, inputs, found, declared, middle=False, constant=False)
    return slope is not None and bool((abs(slope) > FLAT).all())


def branches_eps(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
    """Equation (3) with slopes that another eps can have."""
    slope = by_pixel(node, inputs, found, declared, middle=False)
    return slope is not None and of_eps(slope)


def by_pixel(
    node: Node,
    inputs: Inputs,
    found: Array,
    declared: Declared,
    middle: bool,
    constant: bool = True,
) -> Array | None:
    """a of the filters that are known (1 in (1), which has the middles of the kernels); None where
    the fit does not explain what was found."""
    if "weight_magnitude" not in node.arrays or node.arrays["weight"].shape[2] < 3:
        return None
    fit, x = Fit(node, inputs, found, declared), inputs[0].value
    unknowns = x.shape[1] + constant + (not middle)
    if not fit.ok or x.shape[2:] != found.shape[2:] or not fit.enough(unknowns):
        return None
    pixels = x.swapaxes(0, 1).reshape(x.shape[1], -1)
    pixels = np.vstack([pixels, np.ones((int(constant), pixels.shape[1]))])
    start = fit.z if middle else around_of(node, x)
    fitted, slope = fit.z.copy(), np.ones(len(fit.z))
    for f in np.flatnonzero(fit.known.any(1)):
        known = fit.known[f]
        columns = pixels if middle else np.vstack([pixels, start[f]])
        fixed = start[f] if middle else 0 * start[f]
        right = (fit.found[f] - fixed)[known]
        solution = np.linalg.lstsq(columns[:, known].T, right, rcond=None)[0]
        fitted[f] = solution @ columns + fixed
        slope[f] = 1 if middle else solution[-1]
    return slope[fit.known.any(1)] if fit.explains(fitted) else None


def around_of(node: Node, x: Array) -> Array:
    """(F, elements): z without bias and without the middles of the kernels."""
    weight = weight_of(node).astype(np.float64)
    weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] = 0
    return sums(node, x, weight).swapaxes(0, 1).reshape(len(weight), -1)


BRANCH_CAUSES = (
    Cause("a RepConv branch missing", ("conv",), fits=branch_missing),
    Cause("batch norm not folded or folded wrongly", ("conv",), fits=branches_left_out),
    Cause("wrong eps of the batch norm", ("conv",), fits=branches_eps),
)
