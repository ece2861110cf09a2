"""The parts of an ONNX graph that is being written: its nodes and its constants."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Parts:
    """Nodes and constants in the order in which they were added; `onnx` is the package."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add_node(self, kind: str, inputs: Any, output: str, **attributes: Any) -> str:
        """Add a node with one output, which also gives the node its name; return that name."""
        made = self.onnx.helper.make_node(kind, list(inputs), [output], output, **attributes)
        self.nodes.append(made)
        return output

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add an array under a name, and return the name."""
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name
