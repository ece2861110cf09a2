"""Pictures of an audit: weights with the levels that stand for them, and SQNR by layer.

Needs matplotlib, the extra `plot`. Files are PNG, written whole or not at all.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.atomic import atomic_path
from refquant.arrays.errors import BadInput
from refquant.quant.scheme import part
from refquant.quant.tensor import QuantizedTensor

BINS = 200
FEW_LEVELS = 40  # more of them would hide the histogram, so they are drawn behind it


def new_figure(width: float, height: float) -> Any:
    """An empty figure of that size in inches, drawn without a screen."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BadInput("--plot", "needs matplotlib", "pip install 'refquant[plot]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def plot_layers(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """SQNR in dB of every layer, in the order of the network."""
    known = [row for row in rows if row["sqnr_db"] is not None and np.isfinite(row["sqnr_db"])]
    if not known:
        raise BadInput("--plot", "knows no SQNR", "give the float model with --against")
    figure = new_figure(max(6.0, 0.14 * len(known)), 4.0)
    axes = figure.subplots()
    places = range(len(known))
    axes.bar(places, [row["sqnr_db"] for row in known], color="0.4")
    axes.set_xticks(places, [row["name"] for row in known], rotation=90, fontsize=5)
    axes.set_ylabel("SQNR (dB)")
    ways = {f"{row['scheme']}, {row['granularity']}, {row['bits']} bits" for row in known}
    axes.set_title(ways.pop() if len(ways) == 1 else f"{len(ways)} ways of quantizing")
    save(figure, path)


def plot_group(
    tensor: QuantizedTensor, w: NDArray[np.float32] | None, group: int, title: str, path: Path
) -> None:
    """The weights of one group as a histogram, its levels as lines, breakpoints dashed.

    Of a group with many levels the lines lie faint behind the histogram.
    """
    params = part(tensor.params, slice(group, group + 1))
    used = np.unique(tensor.codes[group])[None].astype(tensor.codes.dtype)
    levels = tensor.rules.dequantize(used, params, tensor.bits)[0]
    values = tensor.rows()[group] if w is None else tensor.grouping.to_rows(w)[group]
    figure = new_figure(8.0, 4.0)
    axes = figure.subplots()
    few = len(levels) <= FEW_LEVELS
    bins = min(BINS, 10 + len(values) // 4)
    axes.hist(values, bins=bins, color="0.75" if few else "0.35", zorder=2)
    for level in levels:
        axes.axvline(level, color="tab:blue", linewidth=0.6, alpha=1.0 if few else 0.35,
                     zorder=3 if few else 1)  # fmt: skip
    label = "weight (histogram), levels that occur (blue)"
    if "breakpoint" in params:
        label += ", breakpoints (red, dashed)"
        middle = params["offset"][0, 0] if "offset" in params else 0.0  # of bias correction
        for end in (-params["breakpoint"][0, 0], params["breakpoint"][0, 0]):
            axes.axvline(middle + end, color="tab:red", linestyle="--", linewidth=1.2, zorder=4)
    axes.set_xlabel(label)
    axes.set_ylabel("weights")
    axes.set_title(title)
    save(figure, path)
