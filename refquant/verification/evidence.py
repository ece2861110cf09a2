"""Evidence where no theorem decides: is the deviation one that a right implementation has?

For a node that stayed undecided, but whose tensor was given:

    k = max |y^ - golden| / largest deviation of the legitimate variants (variants.py)      (1)

    k > IMPLAUSIBLE_K    implausible: not proven wrong, but no variant comes near
    k <= 1               consistent, as far as evidence goes
    between              undecided, as where a variant overflows, or none deviates

If the other side is one more draw of the same kind, k > 1 has the odds 1 : variants at one node.
IMPLAUSIBLE_K leaves room for what the variants do not vary (other libraries' exp, fused
operations); bench/verdicts/accused.py measures how far right runtimes go.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import INPUT, Model, Node
from refquant.verification.declared import Declared
from refquant.verification.judge import CONSISTENT, IMPLAUSIBLE, UNDECIDED
from refquant.verification.variants import largest_deviation

IMPLAUSIBLE_K = 8.0
NO_MEASURE = "a right variant overflows here, so there is no deviation to measure by"
Float32 = NDArray[np.float32]


def weigh(
    rows: list[dict[str, Any]],
    model: Model,
    x: Float32,
    outputs: Callable[[], Iterator[tuple[Node, Float32]]],
    declared: Declared,
    variants: int,
) -> None:
    """Complete the undecided rows by rule (1)."""
    open_rows = {
        row["node"]: row
        for row in rows
        if row["verdict"] == UNDECIDED
        and row.get("max_abs") is not None
        and row["node"] != INPUT  # variants take it as it is
    }
    if not open_rows:
        return
    golden = {node.name: y for node, y in outputs() if node.name in open_rows}
    largest = largest_deviation(model, x, golden, declared, variants)
    for name, row in open_rows.items():
        spread = largest[name] if np.isfinite(largest[name]) else None
        k = min(row["max_abs"] / spread, np.finfo(float).max) if spread else None
        odds = f"1:{variants}"
        row["evidence"] = {"largest": spread, "k": k, "variants": variants, "odds": odds}
        finite = not row["nonfinite"]
        if k is None:
            row["note"] = NO_MEASURE if spread is None else row["note"]
            continue
        row["verdict"] = IMPLAUSIBLE if k > IMPLAUSIBLE_K else UNDECIDED
        if k <= 1 and finite:
            row["verdict"] = CONSISTENT
        row["basis"] = "evidence"
        row["note"] = f"{k:.3g} times the largest deviation of {variants} right variants"
