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
    the value, or an element without a bound, is not finite        undecided                (7)
    the bound was passed on by other nodes (a segment)             undecided                (8)
    an element is beyond the bound of direct sums, which is the
    declared one but for the algorithm                             undecided                (9)
    a channel is not close                                         undecided               (10)
    an element has no bound of direct sums                         consistent    evidence  (11)
    none of them                                                   consistent    theorem   (12)

A channel c (a map's channel; a column of the predictions) is close where one of these holds:

    ||y^ - value|| <= CLOSE * ||value||  over the channel, in the 2-norm and in the
    largest magnitude                                                                      (13)
    excess <= 1 at each of its elements, by the plain bound: that of direct float32 sums of
    the folded network, flushed or not, whatever is declared; it counts unless an output
    of zeros would keep it everywhere though the value is not zero                         (14)

A node that has a tensor and stayed undecided is compared with legitimate variants, by
    k = its deviation / the largest of theirs,
of the node alone, from the other side's own inputs, or, where these are not known, of the whole
network (evidence.py, variants.py):

    a variant overflows, or none deviates: there is no k           undecided               (15)
    k > IMPLAUSIBLE_K                                              implausible   evidence  (16)
    y^ is finite, and near: k <= 1 of the network; of the node at
    most 1.5 times as far off as variants with float32 sums, in
    the largest magnitude and in the root of the mean square       consistent    evidence  (17)
    otherwise                                                      undecided               (18)

The whole takes the gravest verdict of its nodes: wrong, implausible, undecided, consistent; where
no node has one, it is undecided (19). One ground is enough to be wrong, the strongest; consistent
is no stronger than the weakest of the nodes (20). The codes of a quantizer (codes.py) are wrong
where those of a layer are not ours, but for conventions, else undecided where a layer is not
given (21).

What the grounds prove, and what they do not:

    theorem     under H1 to H6 of declared.py |y^ - value| <= bound for every right y^, so (6) is a
                proof. (12) says that y^ is no farther from the exact value than direct sums may
                carry a right one, and that no channel is off by more than 1/256 of its size, nor
                an element by 1/256 of the largest in its channel; or that the channel is as close
                as float32 is. An output of zeros, a missing filter, a transposed kernel, another
                channel is so close only by rare chance. It is no proof of equality
    definition  nothing is rounded, so what is not the same is another thing: a shape, a code
    evidence    a right y^ is one more draw of the same kind as n variants, so k > 1 has the odds
                1 : n at one node. IMPLAUSIBLE_K leaves room for what the variants do not vary
                (the exp of other libraries, fused operations); how far right runtimes go, and how
                often a wrong answer is called consistent, is measured: bench/verdicts

A wider declaration has no smaller bound, and (13) and (14) do not depend on what is declared. So
it never makes a node wrong that was not, nor one undecided that was consistent by theorem; and the
variants of a node under a declaration include those under each part of it. So verdicts on nodes
are monotone in the declaration; between two narrow types, for evidence, that is measured.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.verification.enclosed import Enclosed

CONSISTENT, UNDECIDED, WRONG, IMPLAUSIBLE = "consistent", "undecided", "wrong", "implausible"
GRAVEST_FIRST = (WRONG, IMPLAUSIBLE, UNDECIDED, CONSISTENT)
PLAUSIBLE = "plausible"
THEOREM, DEFINITION, EVIDENCE = "theorem", "definition", "evidence"
STRONGEST_FIRST = (THEOREM, DEFINITION, EVIDENCE)
IMPLAUSIBLE_K = 8.0
CLOSE = 2.0**-8


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


def judge(
    found: NDArray[Any],
    enclosed: Enclosed,
    local: bool,
    direct: Enclosed | None = None,
    plain: Callable[[], Enclosed] | None = None,
) -> Verdict:
    """Rules (6) to (14): y^ of a node from its inputs; local if they have no bounds.

    enclosed   the node as declared
    direct     the same with direct sums; None where that is `enclosed`
    plain      makes that of rule (14), if it is needed; None where it is `enclosed`
    """
    wrong = excess_of(found, enclosed) > 1
    if wrong.any():  # (6)
        strange = int((wrong & ~np.isfinite(found)).sum())
        return Verdict(WRONG, THEOREM, f"{strange} elements are not finite" if strange else "")
    direct = direct or enclosed
    known = np.isfinite(direct.bound)
    open_ = ~np.isfinite(enclosed.value) | (~known & ~np.isfinite(found))
    if open_.any():  # (7)
        return Verdict(
            UNDECIDED, note=f"{int(open_.sum())} of {open_.size} elements are not finite"
        )
    if not local:  # (8)
        return Verdict(UNDECIDED, note="within a bound passed on by several nodes")
    if (excess_of(found, direct) > 1).any():  # (9)
        return Verdict(UNDECIDED, note="beyond the bound of direct sums")
    far = far_channels(found, enclosed, plain)
    if far:  # (10)
        return Verdict(UNDECIDED, note=f"within the bound, but {far} channels are not close")
    if not known.all():  # (11)
        return Verdict(CONSISTENT, EVIDENCE, f"no bound, but each channel within {CLOSE:.1%}")
    return Verdict(CONSISTENT, THEOREM)  # (12)


def far_channels(
    found: NDArray[Any], enclosed: Enclosed, plain: Callable[[], Enclosed] | None
) -> int:
    """How many channels keep neither rule (13) nor rule (14)."""
    value = by_channel(enclosed.value)
    with np.errstate(over="ignore", invalid="ignore"):  # of a stranger's float64
        off = abs(by_channel(found) - value)
        close = np.ones(len(off), bool)
        for order in (2, np.inf):  # (13)
            of_off, of_value = (np.linalg.norm(a, order, axis=1) for a in (off, value))
            close &= of_off <= CLOSE * of_value
    if close.all():
        return 0
    bound = (plain() if plain else enclosed).bound
    if not admits_zeros(Enclosed(enclosed.value, bound)):  # (14)
        own = by_channel(bound)
        close |= ((off <= own) & np.isfinite(own)).all(axis=1)
    return int((~close).sum())


def by_channel(array: NDArray[Any]) -> NDArray[np.float64]:
    """A map (N, C, H, W) as (C, N*H*W); predictions (N, rows, E) as (E, N*rows)."""
    axis = 1 if array.ndim == 4 else -1
    moved = np.moveaxis(np.asarray(array, np.float64), axis, 0)
    return moved.reshape(len(moved), -1)


def admits_zeros(enclosed: Enclosed) -> bool:
    """Rule (14): whether an output that is all zeros would keep the bound, though it is wrong."""
    return bool(enclosed.value.any() and (abs(enclosed.value) <= enclosed.bound).all())


def weigh(k: float | None, finite: bool, near: bool) -> Verdict:
    """Rules (15) to (18)."""
    if k is None:
        return Verdict(UNDECIDED)  # (15)
    if k > IMPLAUSIBLE_K:
        return Verdict(IMPLAUSIBLE, EVIDENCE)  # (16)
    if near and finite:
        return Verdict(CONSISTENT, EVIDENCE)  # (17)
    return Verdict(UNDECIDED)  # (18)


def says(k: float | None, near: bool) -> str | None:
    """What evidence alone says, whatever the verdict is."""
    if k is None:
        return None
    return IMPLAUSIBLE if k > IMPLAUSIBLE_K else PLAUSIBLE if near or k <= 1 else None


def of_whole(nodes: Collection[Verdict]) -> Whole:
    """Rules (19) and (20)."""
    words = {node.word for node in nodes}
    word = next((word for word in GRAVEST_FIRST if word in words), UNDECIDED)  # (19)
    return Whole(word, ground_of(word, {node.ground for node in nodes if node.word == word}))


def ground_of(word: str, grounds: Collection[str | None]) -> str | None:
    """Rule (20), from the grounds of the nodes with this word."""
    in_order = [ground for ground in STRONGEST_FIRST if ground in grounds]
    if not in_order:
        return None
    return in_order[0] if word == WRONG else in_order[-1]


def of_codes(layers: Iterable[str]) -> Whole:
    """Rule (21): the verdicts of the layers, wrong, undecided where not given, or consistent."""
    found = set(layers)
    if WRONG in found:
        return Whole(WRONG, DEFINITION)
    return Whole(UNDECIDED, None) if UNDECIDED in found else Whole(CONSISTENT, DEFINITION)
