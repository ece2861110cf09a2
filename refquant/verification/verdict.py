"""Every rule that leads to a verdict, in the order in which they decide.

    y^              what the other side gives for a node
    value, bound    what is right in real numbers, from the other side's own inputs to the node,
                    and how far a right y^ may be from it: its Enclosed (bounds.py)

An element has a share of its bound:

    excess = |y^ - value| / bound                                                           (1)
             0 where y^ is the value, infinite where only the bound is 0, or only y^ is not
             finite; unknown (NaN) where the value or the bound is not finite

A node: the first of these that holds decides.

    no tensor: it is the input, or is covered by a later one       no verdict               (2)
    no tensor otherwise                                            undecided                (3)
    its tensor has another shape, or cannot be read as floats      wrong         definition (4)
    an input of it is unknown                                      undecided                (5)
    excess > 1 at some element                                     wrong         theorem    (6)
    excess is unknown at some element                              undecided                (7)
    the bound was passed on by other nodes (a segment)             undecided                (8)
    the bound would admit zeros, though the value is not zero      undecided                (9)
    none of them                                                   consistent    theorem   (10)

A node that has a tensor and stayed undecided is compared with legitimate variants of the network
(variants.py), by  k = max |y^ - golden| / their largest deviation  (evidence.py):

    a variant overflows, or none deviates: there is no k           undecided               (11)
    k > IMPLAUSIBLE_K                                              implausible   evidence  (12)
    k <= 1, and all of y^ is finite                                consistent    evidence  (13)
    otherwise                                                      undecided               (14)

The whole takes the gravest verdict of its nodes: wrong, implausible, undecided, consistent; where
no node has one, it is undecided (15). One ground is enough to be wrong, the strongest; consistent
is no stronger than the weakest of the nodes (16). The codes of a quantizer (codes.py) are wrong
where those of a layer are not equal to ours, else undecided where a layer is not given (17).

What the grounds prove, and what they do not:

    theorem     under H1 to H6 of declared.py |y^ - value| <= bound for every right y^, so (6) is a
                proof. (10) is one of this alone: y^ is no farther from the exact value than
                rounding may carry a right one, and zeros would be. It is none of equality
    definition  nothing is rounded, so what is not the same is another thing: a shape, a code
    evidence    a right y^ is one more draw of the same kind as n variants, so k > 1 has the odds
                1 : n at one node. IMPLAUSIBLE_K leaves room for what the variants do not vary
                (the exp of other libraries, fused operations); bench/verdicts/accused.md has how
                far right runtimes go
"""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.verification.enclosed import Enclosed

CONSISTENT, UNDECIDED, WRONG, IMPLAUSIBLE = "consistent", "undecided", "wrong", "implausible"
GRAVEST_FIRST = (WRONG, IMPLAUSIBLE, UNDECIDED, CONSISTENT)
THEOREM, DEFINITION, EVIDENCE = "theorem", "definition", "evidence"
STRONGEST_FIRST = (THEOREM, DEFINITION, EVIDENCE)
IMPLAUSIBLE_K = 8.0


class Verdict(NamedTuple):
    """One of the four words, or None where there is none; by which ground, None where nothing was
    decided; and a note for people."""

    word: str | None
    ground: str | None = None
    note: str = ""


class Whole(NamedTuple):
    """The verdict over all nodes, or over all layers of codes, and its ground."""

    word: str
    ground: str | None


def excess_of(found: NDArray[Any], enclosed: Enclosed) -> NDArray[np.float64]:
    """Equation (1) at every element, in the shape of both."""
    bound = enclosed.bound
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        off = abs(np.asarray(found, np.float64) - enclosed.value)
        # A quotient may round up to above 1 where the bound is kept.
        excess = np.where(off <= bound, np.minimum(off / bound, 1), np.inf)
        excess = np.where((off > bound) & (bound > 0), off / bound, excess)
        excess = np.where(off == 0, 0.0, excess)
    known = np.isfinite(enclosed.value) & np.isfinite(enclosed.bound)
    excess = np.where(known & ~np.isfinite(found), np.inf, excess)
    return np.where(known, excess, np.nan)


def of_missing(covered: bool, is_input: bool) -> Verdict:
    """Rules (2) and (3): a node without a tensor."""
    if is_input:
        return Verdict(None, note="not given: the golden's is taken as the one used")
    if covered:
        return Verdict(None, note="covered by a later node")
    return Verdict(UNDECIDED, note="not given, and no later node covers it")


def of_unusable(why: str) -> Verdict:
    """Rule (4): a tensor that cannot be the node's."""
    return Verdict(WRONG, DEFINITION, why)


def of_unknown_inputs() -> Verdict:
    """Rule (5)."""
    return Verdict(UNDECIDED, note="inputs unknown")


def judge(found: NDArray[Any], enclosed: Enclosed, local: bool) -> Verdict:
    """Rules (1) and (6) to (10): y^ of a node from its inputs; local if they have no bounds."""
    return by_bound(excess_of(found, enclosed), found, enclosed, local)


def by_bound(
    excess: NDArray[np.float64], found: NDArray[Any], enclosed: Enclosed, local: bool
) -> Verdict:
    """Rules (6) to (10)."""
    wrong, unknown = excess > 1, np.isnan(excess)
    if wrong.any():  # (6)
        strange = int((wrong & ~np.isfinite(found)).sum())
        return Verdict(WRONG, THEOREM, f"{strange} elements are not finite" if strange else "")
    if unknown.any():  # (7)
        return Verdict(
            UNDECIDED, note=f"{int(unknown.sum())} of {unknown.size} elements have no bound"
        )
    if not local:  # (8)
        return Verdict(UNDECIDED, note="within a bound passed on by several nodes")
    if admits_zeros(enclosed):  # (9)
        return Verdict(UNDECIDED, note="the bound would admit zeros")
    return Verdict(CONSISTENT, THEOREM)  # (10)


def admits_zeros(enclosed: Enclosed) -> bool:
    """Rule (9): whether an output that is all zeros would keep the bound, though it is wrong."""
    return bool(enclosed.value.any() and (abs(enclosed.value) <= enclosed.bound).all())


def weigh(k: float | None, finite: bool) -> Verdict:
    """Rules (11) to (14)."""
    if k is None:
        return Verdict(UNDECIDED)  # (11)
    if k > IMPLAUSIBLE_K:
        return Verdict(IMPLAUSIBLE, EVIDENCE)  # (12)
    if k <= 1 and finite:
        return Verdict(CONSISTENT, EVIDENCE)  # (13)
    return Verdict(UNDECIDED)  # (14)


def of_whole(nodes: Collection[Verdict]) -> Whole:
    """Rules (15) and (16)."""
    words = {node.word for node in nodes}
    word = next((word for word in GRAVEST_FIRST if word in words), UNDECIDED)  # (15)
    return Whole(word, ground_of(word, {node.ground for node in nodes if node.word == word}))


def ground_of(word: str, grounds: Collection[str | None]) -> str | None:
    """Rule (16), from the grounds of the nodes with this word."""
    in_order = [ground for ground in STRONGEST_FIRST if ground in grounds]
    if not in_order:
        return None
    return in_order[0] if word == WRONG else in_order[-1]


def of_codes(equal: Iterable[bool | None]) -> Whole:
    """Rule (17): whether the codes of each layer are ours, None where they are not given."""
    found = set(equal)
    if False in found:
        return Whole(WRONG, DEFINITION)
    return Whole(UNDECIDED, None) if None in found else Whole(CONSISTENT, DEFINITION)
