"""Pictures of an audit: weights with the levels that stand for them, and SQNR by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.drawing.frame import Frame, span
from refquant.drawing.svg import Box, Drawing, Line, Shape, Text
from refquant.quant.scheme import part
from refquant.quant.tensor import QuantizedTensor

BINS = 200
FEW_LEVELS = 40  # more of them would hide the histogram, so they are drawn behind it
BAR = 12  # pixels from one layer to the next


def layers_plot(rows: Sequence[Mapping[str, Any]]) -> Drawing:
    """SQNR in dB of every layer, in the order of the network."""
    known = [row for row in rows if row["sqnr_db"] is not None and np.isfinite(row["sqnr_db"])]
    if not known:
        raise BadInput("--plot", "knows no SQNR", "give the float model with --against")
    values = [0.0, *(row["sqnr_db"] for row in known)]
    ends = 1.06 * min(values), 1.06 * max(values) or 1.0
    frame = Frame((0, len(known)), ends, top=40, width=max(670, BAR * len(known)))
    ways = {f"{row['scheme']}, {row['granularity']}, {row['bits']} bits" for row in known}
    title = ways.pop() if len(ways) == 1 else f"{len(ways)} ways of quantizing"
    shapes = [Text(frame.left, 22, title, 14, bold=True), *frame.grid_y("SQNR (dB)")]
    for i, row in enumerate(known):
        tip = f"{row['name']}: {row['sqnr_db']:.1f} dB"
        shapes.append(bar(frame, i + 0.1, i + 0.9, row["sqnr_db"], 0.8, tip))
        x, _ = frame.at(i + 0.5, 0)
        shapes.append(Text(x + 3, frame.bottom + 6, row["name"], 9, "end", upright=True))
    below = 20 + 6 * max(len(row["name"]) for row in known)
    size = int(frame.right + 20), int(frame.bottom + below)
    return Drawing("sqnr", f"SQNR of every layer: {title}", *size, shapes)


def group_plot(
    tensor: QuantizedTensor, w: NDArray[np.float32] | None, group: int, title: str, name: str
) -> Drawing:
    """The weights of one group as a histogram, its levels as lines, breakpoints dashed.

    Of a group with many levels the lines lie faint behind the histogram.
    """
    params = part(tensor.params, slice(group, group + 1))
    used = np.unique(tensor.codes[group])[None].astype(tensor.codes.dtype)
    levels = tensor.rules.dequantize(used, params, tensor.bits)[0].tolist()
    values = tensor.rows()[group] if w is None else tensor.grouping.to_rows(w)[group]
    counts, edges = np.histogram(values.astype(np.float64), min(BINS, 10 + len(values) // 4))
    ends = breakpoints(params)
    frame = Frame(span([*edges.tolist(), *levels, *ends]), (0.0, 1.06 * counts.max()), top=40)
    few = len(levels) <= FEW_LEVELS
    bars = [
        bar(frame, low, high, count, 0.45 if few else 0.9, f"{count} of {len(values)} weights")
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    ]
    lines = [upright(frame, level, "blue", 1.0) for level in levels]
    label = "weight (histogram), levels that occur (blue)"
    if ends:
        label += ", breakpoints (red, dashed)"
    shapes = [Text(frame.left, 22, title, 14, bold=True), *frame.grid(label, "weights")]
    shapes += bars + lines if few else lines + bars
    shapes += [upright(frame, end, "vermillion", 1.6, "6 4") for end in ends]
    return Drawing(name, title, 760, int(frame.bottom + 50), shapes)


def breakpoints(params: Mapping[str, NDArray[Any]]) -> list[float]:
    """Where a group's coarse pieces begin, in units of the weights; of most schemes none."""
    if "breakpoint" not in params:
        return []
    middle = params["offset"][0, 0] if "offset" in params else 0.0  # of bias correction
    return [float(middle + side * params["breakpoint"][0, 0]) for side in (-1, 1)]


def bar(frame: Frame, low: float, high: float, value: float, opacity: float, tip: str) -> Shape:
    """A bar of that value between two numbers of the x axis; it stands on 0."""
    (left, y), (right, zero) = frame.at(low, value), frame.at(high, 0)
    return Box(left, min(y, zero), right - left, abs(zero - y), "quiet", opacity, tip)


def upright(frame: Frame, x: float, colour: str, width: float, dash: str = "") -> Shape:
    """A line from the bottom to the top of the frame."""
    across, _ = frame.at(x, 0)
    return Line([(across, frame.bottom), (across, frame.top)], colour, width, dash)
