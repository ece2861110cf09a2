"""Networks made to be hard for other arithmetic: cancelling branches, zeros next to data.

A random network in its unfolded form, of which three things are changed:

    batch norms    mean = 100 * noise and beta = old beta + mean * s: they cancel             (1)
    RepConv        K = 30 * noise is added to the middle of the 3x3 branch and taken from the
                   1x1 branch, each divided by its batch norm's s: they cancel                (2)
    first layer    half of the filters have no bias, so that subnormal inputs give subnormals  (3)

The image has stripes of zeros, of 1e-6 and of subnormal numbers between pixels of noise.
"""

from dataclasses import replace

import numpy as np

from refquant.graph.architecture import build
from refquant.graph.fold import fold
from refquant.graph.graph import Model, Node, cast
from refquant.ops.norm import scale_and_shift


def constructed(architecture: str, seed: int = 0) -> tuple[Model, Model]:
    """The folded and the unfolded model, width 1/8, 2 classes, float32."""
    rng = np.random.default_rng(seed)
    unfolded = build(architecture, 1 / 8, classes=2, implicit=True, folded=False)
    nodes = {node.name: node for node in unfolded.nodes}
    for node in unfolded.nodes:
        if node.op == "batch_norm":
            nodes[node.name] = cancelling(nodes[node.name], rng)
    for name in [name for name in nodes if name.endswith(".rbr_dense.0")]:
        cancel_branches(nodes, name.removesuffix(".rbr_dense.0"), rng)
    first = next(name for name, node in nodes.items() if node.op == "batch_norm")
    nodes[first] = without_half_of_the_bias(nodes[first])
    unfolded = unfolded.with_nodes(tuple(nodes.values()))
    folded = fold(unfolded)
    return folded.with_nodes(tuple(cast(node, np.float32) for node in folded.nodes)), unfolded


def scale_of(norm: Node) -> np.ndarray:
    """s of a batch norm, (F,) float64."""
    arrays = [np.asarray(norm.arrays[k], float) for k in ("weight", "bias", "mean", "variance")]
    return scale_and_shift(*arrays, norm.attributes["eps"])[0]


def cancelling(norm: Node, rng: np.random.Generator) -> Node:
    """Equation (1)."""
    mean = (100 * rng.standard_normal(norm.arrays["mean"].shape)).astype(np.float32)
    beta = (norm.arrays["bias"] + mean * scale_of(norm)).astype(np.float32)
    return replace(norm, arrays={**norm.arrays, "mean": mean, "bias": beta})


def cancel_branches(nodes: dict[str, Node], name: str, rng: np.random.Generator) -> None:
    """Equation (2), in place."""
    dense, point = nodes[f"{name}.rbr_dense.0"], nodes[f"{name}.rbr_1x1.0"]
    K = 30 * rng.standard_normal(point.arrays["weight"].shape[:2])
    wide, narrow = (np.array(node.arrays["weight"], np.float64) for node in (dense, point))
    wide[:, :, 1, 1] += K / scale_of(nodes[f"{name}.rbr_dense.1"])[:, None]
    narrow[:, :, 0, 0] -= K / scale_of(nodes[f"{name}.rbr_1x1.1"])[:, None]
    for node, weight in ((dense, wide), (point, narrow)):
        arrays = {**node.arrays, "weight": weight.astype(np.float32)}
        nodes[node.name] = replace(node, arrays=arrays)


def without_half_of_the_bias(norm: Node) -> Node:
    """Equation (3)."""
    arrays = {key: np.array(norm.arrays[key]) for key in norm.arrays}
    arrays["mean"][::2] = arrays["bias"][::2] = 0
    return replace(norm, arrays=arrays)


def striped_image(size: int = 96, seed: int = 0) -> np.ndarray:
    """x (1, 3, size, size) float32."""
    x = np.random.default_rng(seed).random((1, 3, size, size), np.float32)
    x[:, :, size // 4 : size // 4 + 9] = 0
    x[:, :, :, size // 3 : size // 3 + 7] = 0
    x[:, :, :, size // 2 : size // 2 + 8] = 1e-6
    x[:, :, size // 2 : size // 2 + 12] *= np.float32(2.0**-130)
    return x
