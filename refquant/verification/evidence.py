"""Evidence where no theorem decides: is the deviation one that a right implementation has?

For a node that stayed undecided, but whose tensor was given, k of variants.py: of the node alone,
where the other side's own inputs to it are known, otherwise of the whole network from the golden's
input. What k decides, verdict.py says. Its row gets an `evidence`:

    says        "plausible", "implausible", or None between the two: never more than this
    of          "node" or "network": which k
    k, largest  k, and the largest measure of the variants, by which it is divided
    variants, odds   how many there are, and the odds of k > 1 for one more of them
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import INPUT, Model, Node
from refquant.verification.declared import Declared
from refquant.verification.enclosed import Enclosed
from refquant.verification.local_evidence import Measure, measure_of
from refquant.verification.report import NodeRow
from refquant.verification.variants import largest_deviation
from refquant.verification.verdict import UNDECIDED, says, weigh

NO_MEASURE = "a right variant overflows here, so there is no deviation to measure by"
Float32 = NDArray[np.float32]


def weighed_node(
    row: NodeRow,
    node: Node,
    inputs: Sequence[Enclosed],
    found: NDArray[Any],
    declared: Declared,
) -> NodeRow:
    """The row of a node that stayed undecided, with the evidence of the node alone."""
    if not all(np.isfinite(x.value).all() for x in inputs):
        return row
    return with_evidence(row, measure_of(node, inputs, found, declared), "node")


def weighed(
    rows: Sequence[NodeRow],
    model: Model,
    x: Float32,
    outputs: Callable[[], Iterator[tuple[Node, Float32]]],
    declared: Declared,
    variants: int,
) -> list[NodeRow]:
    """The rows, those that stayed undecided with the evidence of the whole network."""
    names = {row["node"] for row in rows if is_open(row)}
    if not names:
        return list(rows)
    golden = {node.name: y for node, y in outputs() if node.name in names}
    largest = largest_deviation(model, x, golden, declared, variants)
    return [
        with_evidence(row, of_network(row, largest[row["node"]], variants), "network")
        if row["node"] in names
        else row
        for row in rows
    ]


def is_open(row: NodeRow) -> bool:
    """Whether the network can say more of a node: its own evidence was not to be had, and it has a
    tensor; the variants take the input as it is."""
    undecided = row["verdict"] == UNDECIDED and row["node"] != INPUT
    return undecided and row.get("max_abs") is not None and "evidence" not in row


def of_network(row: NodeRow, largest: float, variants: int) -> Measure:
    """The deviations from the golden; a row that is open has one."""
    own = row["max_abs"] or 0.0
    return Measure(own, largest, own <= largest < np.inf, variants)


def with_evidence(row: NodeRow, measure: Measure, of: str) -> NodeRow:
    """The row with k, and with the verdict that it gives."""
    k, count = measure.k, measure.variants
    verdict = weigh(k, not row["nonfinite"], measure.near)
    evidence: dict[str, Any] = {
        "says": says(k, measure.near),
        "of": of,
        "largest": measure.largest if np.isfinite(measure.largest) else None,
        "k": k,
        "variants": count,
        "odds": f"1:{count}",
    }
    new: NodeRow = {
        **row, "verdict": verdict.word, "decided_by": verdict.ground, "evidence": evidence,
    }  # fmt: skip
    if k is None:
        return {**new, "note": NO_MEASURE} if not np.isfinite(measure.largest) else new
    new["note"] = f"{k:.3g} times the largest deviation of {count} right variants"
    return {**new, "basis": "evidence"} if of == "network" else new
