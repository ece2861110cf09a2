"""Where a node is wrong: its worst element with its whole sum, and a picture of all of them.

The worst element has the largest share of its bound (verdict.py, equation 1); nothing is decided
here. The sum of a convolution's element: the products of its window, largest first, and the bias;
what is missing or doubled in y^ is often one of its lines. All of them for the first wrong node,
MOST for later ones. The picture has a cell per block of pixels: " .:-=+*#%@" by the share of wrong
elements there over all images and channels; an edge, a corner or a stripe of tiles is seen at
once.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import Node, array_of
from refquant.ops.conv import pad
from refquant.verification.enclosed import Enclosed
from refquant.verification.verdict import excess_of

SHADES = " .:-=+*#%@"
MOST = 12  # products of a later wrong node
WIDTH, HEIGHT = 48, 16


def worst_element(
    node: Node,
    inputs: Sequence[Enclosed],
    found: NDArray[Any],
    enclosed: Enclosed,
    most: int | None = MOST,
) -> dict[str, Any]:
    """The worst element: where, what was found, what is right, how far right ones may be; of a
    convolution its sum, with `most` of its products (None: all)."""
    ratio = np.nan_to_num(excess_of(found, enclosed), nan=-1.0, posinf=np.finfo(float).max)
    if ratio.max() == np.finfo(float).max:  # several infinite ones: the farthest off
        with np.errstate(invalid="ignore", over="ignore"):
            off = abs(np.asarray(found, np.float64) - enclosed.value)
        infinite = ratio == ratio.max()
        ratio = np.where(infinite, np.nan_to_num(off, nan=np.inf, posinf=np.inf), -1)
    index = tuple(int(i) for i in np.unravel_index(int(ratio.argmax()), ratio.shape))
    result: dict[str, Any] = {
        "index": list(index),
        "found": plain(found[index]),
        "expected": plain(enclosed.value[index]),
        "bound": plain(enclosed.bound[index]),
    }
    if node.op == "conv":
        result["sum"] = the_sum(node, inputs, index, most)
    return result


def plain(number: Any) -> float | str:
    """A float, or its name where JSON has no number for it."""
    value = float(number)
    return value if np.isfinite(value) else str(value)


def the_sum(
    node: Node, inputs: Sequence[Enclosed], index: tuple[int, ...], most: int | None
) -> dict[str, Any]:
    """The sum of one element of a convolution, its largest products first."""
    n, f, p, q = index
    weight = np.asarray(array_of(node.arrays["weight"]), np.float64)[f]
    stride, (_, R, S) = node.attributes["stride"], weight.shape
    x = pad(inputs[0].value[n], node.attributes["padding"])
    window = x[:, p * stride : p * stride + R, q * stride : q * stride + S]
    with np.errstate(over="ignore", invalid="ignore"):  # of a stranger's float64
        products = window * weight
        magnitude = abs(products).sum()
    order = np.argsort(-abs(products), axis=None)[:most]
    places = [tuple(int(i) for i in np.unravel_index(k, products.shape)) for k in order]
    bias = float(array_of(node.arrays["bias"])[f]) if "bias" in node.arrays else 0.0
    return {
        "bias": bias,
        "products": float(products.sum()),
        "magnitude": plain(magnitude + abs(bias)),
        "total": float(products.sum() + bias),
        "activation": node.attributes["activation"],
        "terms": products.size,
        "largest": [
            {"c_r_s": list(place), "x": plain(window[place]), "weight": plain(weight[place])}
            for place in places
        ],
    }


def picture(wrong: NDArray[np.bool_]) -> list[str]:
    """Lines of text for a map (N, C, H, W); other shapes give none."""
    if wrong.ndim != 4:
        return []
    share = wrong.mean(axis=(0, 1))
    rows = np.linspace(0, share.shape[0], min(HEIGHT, share.shape[0]) + 1).astype(int)
    columns = np.linspace(0, share.shape[1], min(WIDTH, share.shape[1]) + 1).astype(int)
    lines = []
    for top, bottom in pairwise(rows):
        cells = [share[top:bottom, a:b].mean() for a, b in pairwise(columns)]
        shades = [0 if c == 0 else 1 + min(8, int(9 * c)) for c in cells]
        lines.append("".join(SHADES[shade] for shade in shades))
    return lines


def where_wrong(wrong: NDArray[np.bool_]) -> Mapping[str, Any]:
    """Counts that a person asks for first: elements, channels, rows and columns concerned."""
    result: dict[str, Any] = {"elements": int(wrong.sum()), "of": int(wrong.size)}
    if wrong.ndim == 4:
        for axis, key in ((1, "channels"), (2, "rows"), (3, "columns")):
            others = tuple(i for i in range(4) if i != axis)
            hit = np.flatnonzero(wrong.any(axis=others))
            result[key] = {"count": int(hit.size), "first": [int(i) for i in hit[:8]]}
    return result
