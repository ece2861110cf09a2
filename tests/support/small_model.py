"""A network of four nodes for tests of files: one convolution, a concat, the head, the decode."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.formats.catalogue import save_model
from refquant.graph.graph import Counts, Model, Node
from refquant.quant.recipe import quantize_model, uniform
from refquant.quant.tensor import QuantizedTensor

# Not in alphabetical order: "model.10..." comes before "model.2..." in a file.
STEM, JOINED, HEAD, DECODE = "model.2.conv", "model.10", "model.11.m.0", "model.11.decode"


def small_model(weight: NDArray[Any] | None = None) -> Model:
    """One class, one anchor, stride 8; weight (F, 3, 8, 8) is that of the first convolution."""
    rng = np.random.default_rng(5)
    if weight is None:
        weight = rng.standard_normal((4, 3, 8, 8)).astype(np.float32)
    filters = weight.shape[0]
    head = rng.standard_normal((6, 2 * filters, 1, 1)).astype(np.float32)
    first = {"weight": weight, "bias": np.linspace(-1, 1, filters, dtype=np.float32)}
    second = {"weight": head, "bias": np.arange(6, dtype=np.float32)}
    nodes = (
        Node(STEM, "conv", ("images",), conv(8, "silu"), first),
        Node(JOINED, "concat", (STEM, STEM)),
        Node(HEAD, "conv", (JOINED,), conv(1, "linear"), second),
        Node(
            DECODE,
            "decode",
            (HEAD,),
            {"strides": (8,)},
            {"anchors": np.array([[[16, 32]]], np.float32)},
        ),
    )
    counts = Counts(weight.size + head.size, filters + 6, filters + 6, 0, 0)
    source = {"name": "small.pt", "sha256": "0" * 64}
    return Model(nodes, ("person",), True, counts, source, "a note")


def conv(stride: int, activation: str) -> dict[str, Any]:
    """The attributes of an unpadded convolution."""
    return {"stride": stride, "padding": 0, "activation": activation}


def quantized(scheme: str = "affine", granularity: str = "filter", bits: int = 4) -> Model:
    """The small model, all of its weights quantized."""
    return quantize_model(small_model(), uniform(scheme, granularity, bits))


def with_node(model: Model, name: str, **changes: Any) -> Model:
    """The model with fields of one node replaced."""
    return model.with_nodes(
        tuple(replace(node, **changes) if node.name == name else node for node in model.nodes)
    )


def saved(model: Model, tmp_path: Path, name: str = "model.h5") -> Path:
    save_model(model, tmp_path / name)
    return tmp_path / name


def same(a: Model, b: Model) -> bool:
    """Whether two models are equal in everything, arrays to the bit and the dtype."""
    fields = ("class_names", "folded", "counts", "source", "licence")
    if any(getattr(a, field) != getattr(b, field) for field in fields):
        return False
    return len(a.nodes) == len(b.nodes) and all(
        (x.name, x.op, x.inputs, x.attributes) == (y.name, y.op, y.inputs, y.attributes)
        and parts(x.arrays) == parts(y.arrays)
        for x, y in zip(a.nodes, b.nodes, strict=True)
    )


def parts(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays as plain values: dtype, shape and bytes, or all fields of a quantized tensor."""
    return {
        name: (
            array.scheme,
            array.granularity,
            array.bits,
            array.shape,
            parts({"codes": array.codes, **array.params}),
        )
        if isinstance(array, QuantizedTensor)
        else (array.dtype.str, array.shape, array.tobytes())
        for name, array in arrays.items()
    }
