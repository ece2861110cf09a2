"""The judgement of one node, given what the other side says and what is right.

    y^   what the other side gives          (value, bound)   the Enclosed of the node (bounds.py)

    some |y^ - value| > bound, or y^ not finite where both are                wrong         (1)
    value or bound unknown at some elements, the others keep it               undecided     (2)
    all of a narrow bound kept: it would not admit zeros                      consistent    (3)
    the bound would admit an output of zeros, though value is not zero        undecided     (4)

local      every input of the node was given, so the bound is one operation's
segment    some inputs were recomputed from earlier tensors, with their bounds passed on; what
           keeps such a bound is only not disproved, and evidence decides (evidence.py)
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.verification.enclosed import Enclosed
from refquant.verification.worst import excess_of

CONSISTENT, UNDECIDED, WRONG, IMPLAUSIBLE = "consistent", "undecided", "wrong", "implausible"


class Judgement(NamedTuple):
    """verdict, the largest share of the bound that is used (None: unknown), which are wrong."""

    verdict: str
    excess: float | None
    wrong: NDArray[np.bool_]
    note: str


def judge(found: NDArray[Any], enclosed: Enclosed, local: bool) -> Judgement:
    """Rules (1) to (4)."""
    ratio = excess_of(found, enclosed)
    wrong = ratio > 1  # NaN, where nothing is known, is not
    known = ~np.isnan(ratio)
    excess = float(ratio[known].max()) if known.any() else None
    if wrong.any():
        strange = int((wrong & ~np.isfinite(found)).sum())
        return Judgement(
            WRONG, excess, wrong, f"{strange} elements are not finite" if strange else ""
        )
    if not known.all():
        share = f"{int((~known).sum())} of {known.size} elements have no bound"
        return Judgement(UNDECIDED, excess, wrong, share)
    if not local:
        return Judgement(UNDECIDED, excess, wrong, "within a bound passed on by several nodes")
    if enclosed.value.any() and (abs(enclosed.value) <= enclosed.bound).all():
        return Judgement(UNDECIDED, excess, wrong, "the bound would admit zeros")
    return Judgement(CONSISTENT, excess, wrong, "")
