"""Which usual mistake explains a wrong node?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import Node
from refquant.study.bounds import Enclosed
from refquant.study.declared import Declared


def explain(
    node: Node, inputs: Sequence[Enclosed], found: NDArray[Any], declared: Declared
) -> str | None:
    """The name of the cause."""
    return None


def explain_input(found: NDArray[Any], x: NDArray[np.float32]) -> str | None:
    """The cause of a wrong input tensor."""
    return None
