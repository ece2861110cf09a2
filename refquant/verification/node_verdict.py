"""The verdict on one node from its inputs: its bounds, the rules of verdict.py, evidence.

    judged      what the rules (6) to (14) give, as a part of the node's row
    verdict_of  the word alone, with the evidence of the node where it stayed undecided

Bounds are made only where they matter: that of any algorithm where y^ is beyond that of direct
sums, which is no larger; the plain one where a channel is not close in its norms.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import Node
from refquant.verification.bounds import enclose
from refquant.verification.declared import PLAIN, Declared
from refquant.verification.enclosed import Enclosed
from refquant.verification.local_evidence import measure_of
from refquant.verification.report import NodeRow
from refquant.verification.verdict import UNDECIDED, WRONG, Verdict, excess_of, judge, weigh
from refquant.verification.worst import picture, where_wrong

Array = NDArray[Any]


def judged(
    node: Node, inputs: Sequence[Enclosed], found: Array, declared: Declared
) -> tuple[NodeRow, Enclosed]:
    """The parts of a node's row, and its Enclosed as declared."""
    local = not any(x.bound.any() for x in inputs)
    direct = enclose(node, inputs, declared._replace(algorithm="direct"))
    excess, enclosed = excess_of(found, direct), direct
    if declared.algorithm != "direct" and (excess > 1).any():
        enclosed = enclose(node, inputs, declared)
        excess = excess_of(found, enclosed)
    plain = cache(lambda: enclose(node, inputs, PLAIN))
    return row_of(excess, judge(found, enclosed, local, direct, plain), local), enclosed


def row_of(excess: NDArray[np.float64], verdict: Verdict, local: bool = True) -> NodeRow:
    """A verdict as the part of a row, with the share of the bound, and where it is wrong."""
    row: NodeRow = {"basis": "local" if local else "segment", **of_verdict(verdict)}
    known = excess[~np.isnan(excess)]
    most = float(known.max()) if known.size else None
    row["excess"] = most if most is None or np.isfinite(most) else "infinite"
    if verdict.word == WRONG:
        row["where"], row["picture"] = where_wrong(excess > 1), picture(excess > 1)
    return row


def of_verdict(verdict: Verdict) -> NodeRow:
    """A verdict as a part of a row."""
    return {"verdict": verdict.word, "decided_by": verdict.ground, "note": verdict.note}


def verdict_of(
    node: Node, inputs: Sequence[Enclosed], found: Array, declared: Declared
) -> Verdict:
    """Rules (6) to (18) for a node whose inputs are given."""
    row, _ = judged(node, inputs, found, declared)
    if row["verdict"] != UNDECIDED or row["basis"] != "local":
        return Verdict(row["verdict"], row["decided_by"], row["note"])
    measure = measure_of(node, inputs, found, declared)
    return weigh(measure.k, bool(np.isfinite(found).all()), measure.near)
