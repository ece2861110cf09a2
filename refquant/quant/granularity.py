"""Granularity: which weights share parameters. A weight (F, C, R, S) becomes rows (G, N).

A granularity is the set of axes along which parameters differ. Those axes come first, in the order
F, C, R, S, and make the G rows; the others, in the same order, make the N weights of a row.

    name       axes kept    G         a row is                  on a 1x1 kernel
    layer      (none)       1         the whole tensor
    filter     F            F         W[f, :, :, :]
    channel    C            C         W[:, c, :, :]
    f-shape    C,R,S        C*R*S     W[:, c, r, s]             the same as channel
    c-shape    F,R,S        F*R*S     W[f, :, r, s]             the same as filter
    axes:F,R   any axes     F*R       W[f, :, r, :]
    block-32   F, and cuts  F*B       32 neighbours of the flattened W[f] (also 64, 128)

Blocks  A filter has B = ceil(C*R*S / 32) rows of N = ceil(C*R*S / B) weights. Where B*N is more
        than C*R*S, the last row is filled up with copies of the filter's last weight. They change
        no minimum or maximum (but a row's mean and deviation a little), are stored and counted,
        and are dropped by `from_rows`.
Naming  F-shape is the fibre across filters ("filter shape" in structured sparsity, Wen et al.
        2016, arXiv 1608.03665), C-shape the fibre across channels. The paper, Baghbanbashi et al.
        2023, arXiv 2407.04943, leaves room for the opposite reading: whoever holds it says
        `f-shape-swapped` for the rows W[f, :, r, s] and `c-shape-swapped` for W[:, c, r, s].
        Files and reports name the axes.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.axes import WEIGHT_AXES
from refquant.arrays.errors import BadInput
from refquant.arrays.table import Table

ALIASES = {"f-shape-swapped": "c-shape", "c-shape-swapped": "f-shape"}


class Granularity(NamedTuple):
    """Which weights of (F, C, R, S) share their parameters: those of one row.

    Parameters
    ----------
    name : str
        A name in GRANULARITIES, or an axis set such as "axes:F,R".
    axes : str
        The axes that keep parameters of their own, letters of FCRS in that order.
    block : int, default 0
        The weights of a filter that share parameters, one block after the other; 0 for no blocks.
    """

    name: str
    axes: str
    block: int = 0

    def rows_shape(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(G, N) of a weight of that shape, with the copies that fill up blocks."""
        groups = 1
        for letter, size in zip(WEIGHT_AXES, shape, strict=True):
            groups *= size if letter in self.axes else 1
        n = math.prod(shape) // groups
        if not self.block:
            return groups, n
        blocks = -(-n // self.block)
        return groups * blocks, -(-n // blocks)

    def order(self) -> tuple[int, ...]:
        """The axes of the weight as numbers, those kept first."""
        kept = [i for i, letter in enumerate(WEIGHT_AXES) if letter in self.axes]
        return (*kept, *(i for i in range(4) if i not in kept))

    def to_rows(self, w: NDArray[Any]) -> NDArray[Any]:
        """Give w (F, C, R, S) as rows (G, N), of the same dtype."""
        G, N = self.rows_shape(w.shape)
        if not self.block:
            return np.ascontiguousarray(w.transpose(self.order())).reshape(G, N)
        flat = w.reshape(w.shape[0], -1)
        missing = G * N // w.shape[0] - flat.shape[1]
        return np.pad(flat, ((0, 0), (0, missing)), mode="edge").reshape(G, N)

    def from_rows(self, rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Rows (G, N) as a weight (F, C, R, S) of that shape; undoes `to_rows`."""
        if self.block:
            flat = rows.reshape(shape[0], -1)[:, : math.prod(shape[1:])]
            return np.ascontiguousarray(flat).reshape(shape)
        order = self.order()
        ordered = rows.reshape([shape[i] for i in order])
        return np.ascontiguousarray(ordered.transpose(np.argsort(order)))

    def own(self, rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """All values of rows but those of copies that fill up blocks, in any order."""
        return self.from_rows(rows, shape) if self.block else rows


GRANULARITIES = Table(
    "granularity",
    (
        Granularity("layer", ""),
        Granularity("filter", "F"),
        Granularity("channel", "C"),
        Granularity("f-shape", "CRS"),
        Granularity("c-shape", "FRS"),
        Granularity("block-32", "F", 32),
        Granularity("block-64", "F", 64),
        Granularity("block-128", "F", 128),
    ),
)


def find_granularity(name: str | Granularity) -> Granularity:
    """The granularity of that name, alias or axis set ("axes:F,R")."""
    if isinstance(name, Granularity):
        return name
    if not name.startswith("axes:"):
        return GRANULARITIES[ALIASES.get(name, name)]
    letters = name.removeprefix("axes:").split(",")
    kept = "".join(letter for letter in WEIGHT_AXES if letter in letters)
    if sorted(letters) != sorted(kept):
        raise BadInput(
            f"granularity={name!r}",
            "an axis set has letters of F, C, R, S, each at most once",
            "write axes:F,R for example, or the name " + " | ".join(GRANULARITIES),
        )
    return Granularity(f"axes:{','.join(kept)}", kept)
