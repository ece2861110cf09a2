"""A network and an image of whole numbers over powers of two, the same on every machine.

Random normal numbers come from functions of the C library, and those round differently here and
there; goldens would then differ for reasons that are not ours. Integers do not.
"""

from dataclasses import replace

import numpy as np

from refquant.graph.architecture import build
from refquant.graph.graph import Model


def model_of_whole_numbers(name: str) -> tuple[Model, np.ndarray]:
    """A narrow network by name, and an image (1, 3, 96, 64)."""
    rng = np.random.default_rng(7)
    model = build(name, 1 / 8, classes=2)
    nodes = []
    for node in model.nodes:
        if node.op == "conv":
            shape = node.arrays["weight"].shape
            # Weights in [-1, 1] / 2**k with 2**k near the square root of their number per output.
            power = np.float32(2.0 ** -(7 + np.ceil(np.log2(np.prod(shape[1:])) / 2) - 1))
            weight = rng.integers(-128, 129, shape).astype(np.float32) * power
            bias = rng.integers(-128, 129, shape[0]).astype(np.float32) / 256
            node = replace(node, arrays={"weight": weight, "bias": bias})
        nodes.append(node)
    x = rng.integers(0, 256, (1, 3, 96, 64)).astype(np.float32) / 256
    return model.with_nodes(tuple(nodes)), x
