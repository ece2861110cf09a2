"""Faults of another quantizer, for found.py: is what explains their codes named?

A small port of affine quantization with one thing of it wrong gives codes and scales for every
convolution; verification/codes.py of the package compares them with ours. Layers where the fault
changes nothing are left out. Weights of a trained network hit no tie, so two faults that change
only ties get weights that were moved to multiples of half a scale, the scale to a power of two.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from refquant.graph.graph import Model, array_of
from refquant.verification.codes import compare_layer

Given = dict[str, np.ndarray]
TOP = 15  # of 4 bits


def port(
    w: np.ndarray, scale: np.ndarray, zero: np.ndarray, rounding: Callable = np.rint, low: int = 0
) -> Given:
    """Codes for rows (G, N), and the parameters that go with them."""
    q = np.clip(rounding(w / scale) + zero, low, TOP)
    return {"codes": q, "scale": scale, "zero_point": zero}


def half(scale: np.ndarray) -> np.ndarray:
    return scale.astype(np.float16).astype(np.float64)


def narrow_only(w: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> Given:
    """Codes chosen against the scale, which is then stored as float16."""
    return {**port(w, scale, zero), "scale": half(scale)}


def on_ties(w: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights on multiples of half a scale, exactly, and that scale."""
    near = 2.0 ** np.rint(np.log2(scale))
    return near * np.rint(2 * w / near) / 2, near


# (what is wrong, what the explanation must begin with, the port)
CASES: tuple[tuple[str, str | tuple[str, ...], Callable], ...] = (
    ("truncation", "rounding truncation", lambda w, s, z: port(w, s, z, np.trunc)),
    ("floor", "rounding down", lambda w, s, z: port(w, s, z, np.floor)),
    (
        "lowest code not used", "rounding half to even, the lowest code left out",
        lambda w, s, z: port(w, s, z, low=1),
    ),
    (
        "scale stored as float16", ("their scale", "scale storage"),
        lambda w, s, z: port(w, half(s), z),
    ),
    ("scale stored as float16 after the codes were chosen", "scale storage", narrow_only),
    (
        "one scale for the layer", "granularity",
        lambda w, s, z: port(w, s.max().reshape(1, 1), z[:1]),
    ),
    (
        "ties away from zero", "rounding half away from zero",
        lambda w, s, z: port(w, s, z, lambda q: np.copysign(np.floor(abs(q) + 0.5), q)),
    ),
    ("ties up", "rounding half up", lambda w, s, z: port(w, s, z, lambda q: np.floor(q + 0.5))),
    ("zero points one too high", "their scale", lambda w, s, z: port(w, s, z + 1)),
    (
        "rounding to odd codes", "unknown",
        lambda w, s, z: port(w, s, z, lambda q: 2 * np.rint(q / 2 - 0.5) + 1),
    ),
)  # fmt: skip


def code_lines(model: Model, quantized: Model) -> Iterator[str]:
    """The table, over all layers with codes."""
    yield "| fault | layers | explained rightly | explained falsely | unknown |"
    yield "|---|---|---|---|---|"
    for what, cause, faulty in CASES:
        count: Counter[str] = Counter()
        for node in quantized.nodes:
            if node.op != "conv":
                continue
            tensor, w = node.arrays["weight"], array_of(model[node.name].arrays["weight"])
            maps = tensor.rules.affine_map(tensor.params, tensor.bits)
            scale, zero = (part.astype(np.float64) for part in maps)
            rows = tensor.grouping.to_rows(w).astype(np.float64)
            if what.startswith("ties"):
                rows, scale = on_ties(rows, scale)
                w = tensor.grouping.from_rows(rows.astype(np.float32), w.shape)
            row = compare_layer(node.name, w, tensor, faulty(rows, scale, zero))
            named = row["explanation"]
            if named != "equal":
                right = named.startswith(cause)
                count["right" if right else "unknown" if named == "unknown" else "false"] += 1
        n = sum(count.values())
        shares = [
            f"{100 * count[k] / n:.0f} %" if n else "-" for k in ("right", "false", "unknown")
        ]
        yield f"| {what} | {n} | {' | '.join(shares)} |"
