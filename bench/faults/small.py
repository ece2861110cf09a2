"""Small faults for found.py: one weight, one element, one channel, one row, one bit.

A weight is changed in the ONNX graph and onnxruntime runs it; the others change a right tensor of
onnxruntime. DRAWS places are drawn per layer and kind. One ulp is far inside what a right
implementation may be off, so it must be missed: a verdict that found it would be a false one.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from bench.faults.surgery import conv_of, read, write
from refquant.graph.graph import INPUT
from refquant.verification.bounds import enclose
from refquant.verification.enclosed import given
from refquant.verification.verdict import judge

DRAWS = 4
Change = Callable[[Any, np.random.Generator], Any]


def one_ulp(v: Any, rng: np.random.Generator) -> Any:
    return np.nextafter(v, np.float32(np.inf), dtype=np.float32)


def times(number: float) -> Change:
    return lambda v, rng: v * np.float32(number)


def one_bit(v: Any, rng: np.random.Generator) -> Any:
    """One of the 32 bits flipped."""
    bits = np.float32(v).view(np.uint32) ^ np.uint32(1 << int(rng.integers(32)))
    return np.uint32(bits).view(np.float32)


def stale(v: Any, rng: np.random.Generator) -> Any:
    return np.float32(0) * v


WEIGHTS: dict[str, Change] = {
    "by 1 ulp": one_ulp,
    "by 0.1 %": times(1.001),
    "by 1 %": times(1.01),
    "by 50 %": times(1.5),
}
TENSORS: dict[str, Change] = {
    "by 1 ulp": one_ulp,
    "by 0.01 %": times(1.0001),
    "by 1 %": times(1.01),
    "set to 0": stale,
}


def small_lines(subject: Any, layers: int, counts: dict[str, Counter[str]]) -> None:
    """Count verdicts by kind, at up to `layers` convolutions spread over the network."""
    convs = [node for node in subject.model.nodes if node.op == "conv"]
    chosen = sorted({int(i) for i in np.linspace(0, len(convs) - 1, layers)})
    rng = np.random.default_rng(0)
    for i in chosen:
        node = convs[i]
        enclosed = enclose(
            node, [given(subject.clean[name]) for name in node.inputs], subject.declared
        )
        for kind, change in WEIGHTS.items():
            y = with_weight_changed(subject, node, change, rng)
            count(counts, f"one weight {kind}", y, enclosed)
        y = subject.clean[node.name]
        for _ in range(DRAWS):
            place = tuple(int(rng.integers(size)) for size in y.shape)
            places = {
                "element": place,
                "channel": np.s_[:, place[1]],
                "row": np.s_[:, :, place[2]],
            }
            for where, index in places.items():
                for kind, change in TENSORS.items():
                    faulty = y.copy()
                    faulty[index] = change(faulty[index], rng)
                    count(counts, f"one {where} {kind}", faulty, enclosed)
            faulty = y.copy()
            with np.errstate(over="ignore", invalid="ignore"):
                faulty[place] = one_bit(faulty[place], rng)
            count(counts, "one bit of one element", faulty, enclosed)


def count(counts: dict[str, Counter[str]], kind: str, y: np.ndarray, enclosed: Any) -> None:
    counts.setdefault(kind, Counter())[judge(y, enclosed, True).word] += 1


def with_weight_changed(
    subject: Any, node: Any, change: Change, rng: np.random.Generator
) -> np.ndarray:
    """The node's output in onnxruntime with one weight changed."""
    from bench.runtimes import onnxruntime_outputs

    faulty = onnx.ModelProto()
    faulty.CopyFrom(subject.graph)
    conv = conv_of(faulty.graph, node.name)
    weight = read(faulty.graph, conv.input[1]).copy()
    index = tuple(int(rng.integers(size)) for size in weight.shape)
    weight[index] = change(weight[index], rng)
    write(faulty.graph, conv.input[1], weight)
    assert INPUT not in (node.name,)
    return onnxruntime_outputs(faulty, subject.x, [node.name])[node.name]
