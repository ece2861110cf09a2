"""Evidence where no theorem decides: is the deviation one that a right implementation has?

For a node that stayed undecided, but whose tensor was given:

    k = max |y^ - golden| / largest deviation of the legitimate variants (variants.py)      (1)

unknown where a variant overflows, or none deviates. What k decides, verdict.py says.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import INPUT, Model, Node
from refquant.verification.declared import Declared
from refquant.verification.report import NodeRow
from refquant.verification.variants import largest_deviation
from refquant.verification.verdict import UNDECIDED, weigh

NO_MEASURE = "a right variant overflows here, so there is no deviation to measure by"
Float32 = NDArray[np.float32]


def weighed(
    rows: Sequence[NodeRow],
    model: Model,
    x: Float32,
    outputs: Callable[[], Iterator[tuple[Node, Float32]]],
    declared: Declared,
    variants: int,
) -> list[NodeRow]:
    """The rows, those that stayed undecided with their evidence."""
    names = {row["node"] for row in rows if is_open(row)}
    if not names:
        return list(rows)
    golden = {node.name: y for node, y in outputs() if node.name in names}
    largest = largest_deviation(model, x, golden, declared, variants)
    return [
        with_evidence(row, largest[row["node"]], variants) if row["node"] in names else row
        for row in rows
    ]


def is_open(row: NodeRow) -> bool:
    """Whether evidence can say more of a node: the variants take the input as it is."""
    undecided = row["verdict"] == UNDECIDED and row["node"] != INPUT
    return undecided and row.get("max_abs") is not None


def with_evidence(row: NodeRow, largest: float, variants: int) -> NodeRow:
    """The row with k of equation (1), and with the verdict that it gives."""
    spread = largest if np.isfinite(largest) else None
    max_abs = row["max_abs"]
    assert max_abs is not None
    k = min(max_abs / spread, float(np.finfo(float).max)) if spread else None
    verdict = weigh(k, not row["nonfinite"])
    evidence: dict[str, Any] = {
        "largest": spread, "k": k, "variants": variants, "odds": f"1:{variants}",
    }  # fmt: skip
    new: NodeRow = {
        **row, "verdict": verdict.word, "decided_by": verdict.ground, "evidence": evidence,
    }  # fmt: skip
    if k is not None:
        note = f"{k:.3g} times the largest deviation of {variants} right variants"
        return {**new, "basis": "evidence", "note": note}
    return {**new, "note": NO_MEASURE} if spread is None else new
