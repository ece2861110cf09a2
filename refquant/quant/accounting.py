"""Accounting: what a model weighs, counted in four ways, each against FP32 and FP16.

    fp32, fp16  4 and 2 bytes for each number of the model's arrays as they are now
    nominal     the way of the paper: the unfolded network; for a quantized weight its nominal bits
                (no bit for the pieces of a piecewise linear scheme) and 4 bytes per quantizer
                parameter and group; all else in FP16: batch norms (gamma, beta, mean, variance),
                biases, skipped layers. Its baseline is the whole unfolded network in FP16
    packed      the bits really stored for codes, parameters and unquantized arrays as stored
    entropy     of order zero: one histogram of codes per tensor, ceil(N*H/8) bytes for N codes of
                H bits, 4 bytes per code value for the histogram, parameters, unquantized arrays
    file        bytes on disk, known only where there is a file

Unfolded from folded  Folding adds a RepConv's 1x1 branch (F, C) to its 3x3 branch. Where the
        counts of the unfolded network show that this happened, the branch counts as a layer of its
        own, with the scheme, granularity and bits of the convolution that it was folded into.
Source  The nominal way is inferred from the savings of the paper, Baghbanbashi et al. 2023, arXiv
        2407.04943: it gives 3.926 and 3.884 for YOLOv7 at 4 bits per filter, and they report 3.93
        and 3.88.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import Array, Model, Node
from refquant.quant.granularity import find_granularity
from refquant.quant.schemes import find_scheme
from refquant.quant.tensor import QuantizedTensor

BRANCHES = ".rbr_reparam"
OPERATIONAL = ("weight", "bias", "implicit", "mean", "variance", "anchors")


class Stored(NamedTuple):
    """How a quantized weight is stored, in names."""

    scheme: str
    granularity: str
    bits: int


class LayerBytes(NamedTuple):
    """One convolution's weight: how it is stored, and its bytes in each way."""

    name: str
    shape: tuple[int, ...]
    scheme: str
    granularity: str
    axes: str  # those that keep parameters of their own, letters of FCRS
    bits: int
    code_bits: int
    groups: int
    fp32: int
    fp16: int
    nominal: int
    packed: int
    entropy: int


def accounting(model: Model, file_bytes: int | None = None) -> dict[str, Any]:
    """{"bytes": {...}, "ratios": {way: {"fp32": ..., "fp16": ...}}, "layers": [...]}."""
    layers = [layer_bytes(node) for node in model.nodes if node.op == "conv"]
    rest = [array for node in model.nodes for array in unquantized(node)]
    numbers = sum(array.size for array in rest) + sum(math.prod(row.shape) for row in layers)
    stored = sum(array.nbytes for array in rest)
    total = {
        "fp32": 4 * numbers,
        "fp16": 2 * numbers,
        "nominal": nominal_bytes(model),
        "packed": stored + sum(row.packed for row in layers),
        "entropy": stored + sum(row.entropy for row in layers),
        "file": file_bytes,
    }
    baseline = unfolded_fp16(model)
    ratios: dict[str, Any] = {"nominal": ratio_of(total["nominal"], 2 * baseline, baseline)}
    for way in ("packed", "entropy", "file"):
        ratios[way] = ratio_of(total[way], total["fp32"], total["fp16"])
    rows = [row._asdict() for row in layers]
    return {"bytes": total, "baseline_unfolded_fp16": baseline, "ratios": ratios, "layers": rows}


def ratio_of(size: int | None, fp32: int | None, fp16: int | None) -> dict[str, float] | None:
    """How many times smaller than FP32 and FP16."""
    if not size or fp32 is None or fp16 is None:
        return None
    return {"fp32": fp32 / size, "fp16": fp16 / size}


def unquantized(node: Node) -> list[NDArray[Any]]:
    """The node's arrays that operations use, except the weight of a convolution."""
    return [
        array
        for key, array in node.arrays.items()
        if key in OPERATIONAL
        and isinstance(array, np.ndarray)
        and not (node.op == "conv" and key == "weight")
    ]


def layer_bytes(node: Node) -> LayerBytes:
    """The row of one convolution."""
    weight = node.arrays["weight"]
    size = math.prod(weight.shape)
    if not isinstance(weight, QuantizedTensor):
        return LayerBytes(
            node.name, weight.shape, "", "", "", 32, 32, 0,
            fp32=4 * size, fp16=2 * size, nominal=2 * size,
            packed=weight.nbytes, entropy=weight.nbytes,
        )  # fmt: skip
    return LayerBytes(
        node.name,
        weight.shape,
        weight.scheme,
        weight.granularity,
        weight.grouping.axes,
        weight.bits,
        weight.code_bits,
        weight.codes.shape[0],
        fp32=4 * size,
        fp16=2 * size,
        nominal=math.ceil(nominal_of(weight.shape, stored_as(weight))),
        packed=weight.nbytes,
        entropy=entropy_bytes(weight),
    )


def stored_as(weight: Array) -> Stored | None:
    """How a weight is stored, None for a plain one."""
    if not isinstance(weight, QuantizedTensor):
        return None
    return Stored(weight.scheme, weight.granularity, weight.bits)


def nominal_of(shape: tuple[int, ...], stored: Stored | None) -> float:
    """Nominal bytes of a weight (F, C, R, S); half bytes are kept."""
    if stored is None:
        return 2.0 * math.prod(shape)
    groups, _ = find_granularity(stored.granularity).rows_shape(shape)
    nominal_params = find_scheme(stored.scheme).nominal_params(stored.bits)
    return math.prod(shape) * stored.bits / 8 + 4 * groups * nominal_params


def nominal_total(model: Model, stored: Mapping[str, Stored | None]) -> float:
    """The whole model in the paper's way, its convolutions stored as given by name."""
    convs = [(node, node.arrays["weight"].shape) for node in model.nodes if node.op == "conv"]
    weights = [
        nominal_of(shape, stored[node.name]) for node, shape in (*convs, *folded_branches(model))
    ]
    return sum(weights) + 2 * other_numbers(model)


def other_numbers(model: Model) -> int:
    """Numbers of the unfolded network that are no weights of convolutions."""
    return 4 * model.counts.norm_channels + model.counts.biases + model.counts.implicit


def nominal_bytes(model: Model) -> int:
    """The whole model in the paper's way, as it is stored."""
    convs = [node for node in model.nodes if node.op == "conv"]
    return math.ceil(
        nominal_total(model, {node.name: stored_as(node.arrays["weight"]) for node in convs})
    )


def folded_branches(model: Model) -> list[tuple[Node, tuple[int, ...]]]:
    """(convolution, shape) of each 1x1 branch that folding added to a convolution."""
    convs = [node for node in model.nodes if node.op == "conv"]
    missing = model.counts.weights - sum(math.prod(n.arrays["weight"].shape) for n in convs)
    branches = [
        (node, (*node.arrays["weight"].shape[:2], 1, 1))
        for node in convs
        if node.name.endswith(BRANCHES)
    ]
    return branches if missing and missing == sum(math.prod(s) for _, s in branches) else []


def unfolded_fp16(model: Model) -> int:
    """Bytes of the unfolded network in FP16: the paper's baseline."""
    return 2 * (model.counts.weights + other_numbers(model))


def histogram_of(weight: QuantizedTensor) -> NDArray[np.int64]:
    """How often each of the 2**code_bits codes occurs."""
    return np.bincount(weight.codes.ravel(), minlength=2**weight.code_bits)


def entropy_bytes(weight: QuantizedTensor, histogram: NDArray[np.int64] | None = None) -> int:
    """Zero-order entropy of the codes, the histogram's cost, and the parameters."""
    histogram = histogram_of(weight) if histogram is None else histogram
    return (
        math.ceil(weight.codes.size * entropy_bits(histogram) / 8)
        + 4 * 2**weight.code_bits
        + weight.params_nbytes
    )


def entropy_bits(histogram: NDArray[Any]) -> float:
    """Entropy of a histogram in bits per symbol: H = -sum p log2 p."""
    used = histogram[histogram > 0] / histogram.sum()
    return float(abs(np.sum(used * np.log2(used))))
