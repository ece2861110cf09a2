"""Fusing as the public code does it: no batch norms are left, what was folded stays there.

A second account of graph/fold.py's equations, on trees of modules instead of graphs. Weights come
out in float32. The head's ia and im keep their tensors, although the convolutions now contain
them.
"""

from dataclasses import replace

import numpy as np

from refquant.graph.module import Layer, Module


def fuse(layers: list[Layer]) -> list[Layer]:
    """The layers without batch norms, in float32; ia and im stay, though they are folded too."""
    return [Layer(layer.sources, fuse_module(layer.module)) for layer in layers]


def fuse_module(module: Module) -> Module:
    parts = {key: fuse_module(child) for key, child in module.children.items()}
    if module.kind == "Conv":
        fused = merged(module.children["conv"], module.children["bn"])
        return replace(module, children={"conv": fused, "act": parts["act"]})
    if module.kind == "RepConv":
        return replace(
            module, children={"act": parts["act"], "rbr_reparam": merged_branches(module)}
        )
    if module.kind == "Detect" and "ia" in parts:
        convs = {k: merged_implicit(module, k) for k in parts["m"].children}
        parts["m"] = replace(parts["m"], children=convs)
    return replace(module, children=parts)


def float64(module: Module, key: str) -> np.ndarray:
    return module.arrays[key].astype(np.float64)


def conv_of(conv: Module, weight: np.ndarray, bias: np.ndarray) -> Module:
    arrays = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
    return replace(conv, arrays=arrays)


def folded(conv: Module, bn: Module) -> tuple[np.ndarray, np.ndarray]:
    """W * s and beta - mean * s, s = gamma / sqrt(variance + eps)."""
    scale = float64(bn, "weight") / np.sqrt(float64(bn, "running_var") + bn.attributes["eps"])
    shift = float64(bn, "bias") - float64(bn, "running_mean") * scale
    return float64(conv, "weight") * scale[:, None, None, None], shift


def merged(conv: Module, bn: Module) -> Module:
    return conv_of(conv, *folded(conv, bn))


def merged_branches(module: Module) -> Module:
    dense, point = (module.children[key].children for key in ("rbr_dense", "rbr_1x1"))
    weight, bias = folded(dense["0"], dense["1"])
    weight_1, bias_1 = folded(point["0"], point["1"])
    weight[:, :, 1:2, 1:2] += weight_1
    return conv_of(dense["0"], weight, bias + bias_1)


def merged_implicit(head: Module, k: str) -> Module:
    conv = head.children["m"].children[k]
    add = float64(head.children["ia"].children[k], "implicit")
    multiply = float64(head.children["im"].children[k], "implicit")
    weight, bias = float64(conv, "weight"), float64(conv, "bias")
    bias = (bias + weight[:, :, 0, 0] @ add) * multiply
    return conv_of(conv, weight * multiply[:, None, None, None], bias)
