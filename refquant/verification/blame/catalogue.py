"""CAUSES, the catalogue of usual mistakes, from the special to the general; and `explain`.

The first cause that explains every element of a wrong output within the bounds is its name.
What none explains stays "unknown" (None): a wrong guess costs more time than none. An addition is
an entry in one of the files and a test of its own (test_blame.py checks that each has one).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import INPUT, Node
from refquant.verification.blame.branch_causes import BRANCH_CAUSES
from refquant.verification.blame.conv_causes import CONV_CAUSES
from refquant.verification.blame.decode_causes import DECODE_CAUSES
from refquant.verification.blame.fit_causes import FIT_CAUSES
from refquant.verification.blame.input_causes import INPUT_CAUSES
from refquant.verification.blame.move_causes import MOVE_CAUSES
from refquant.verification.blame.output_causes import OUTPUT_CAUSES
from refquant.verification.blame.quant_causes import QUANT_CAUSES
from refquant.verification.blame.trial import Cause, explained
from refquant.verification.blame.type_causes import TYPE_CAUSES
from refquant.verification.declared import Declared
from refquant.verification.enclosed import Enclosed

CAUSES: tuple[Cause, ...] = (
    *INPUT_CAUSES,  # first: a reversed image is a better name than reversed channels
    *CONV_CAUSES,
    *MOVE_CAUSES,
    *DECODE_CAUSES,
    *OUTPUT_CAUSES,
    *QUANT_CAUSES,
    *TYPE_CAUSES,
    *FIT_CAUSES,
    *BRANCH_CAUSES,
)


def causes_at(node: Node) -> Iterator[Cause]:
    """The causes that can be at a node."""
    for cause in CAUSES:
        if node.op in cause.ops or ("input" in cause.ops and INPUT in node.inputs):
            yield cause


def explain(
    node: Node, inputs: Sequence[Enclosed], found: NDArray[Any], declared: Declared
) -> str | None:
    """The name of the first cause that explains what was found, None where there is none."""
    if not np.isfinite(found).all():
        return None
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        for cause in causes_at(node):
            if explained(cause, node, inputs, found, declared):
                return cause.name
    return None
