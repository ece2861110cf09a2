"""Evidence about one node, from the other side's own inputs to it: its k in variants.py, (6).

    T(y) = max over channels c of  max |y - value| / max of the plain bound               (1)
    R(y) = max over channels c of  rms(y - value) / max of the plain bound                (2)
           each over the elements of c; 0 where nothing of a channel is off
    k    = T(y^) / max of T over the variants                                             (3)
    near   T(y^) and R(y^) are at most ROOM times their maxima over the variants with
           float32 sums: T sees one element far off, R many that are a little off         (4)

value   what is right in real numbers; the plain bound is that of direct float32 sums (PLAIN of
        declared.py), a scale for each channel that depends on nothing that is declared
The variants, for every declaration that takes some of the declared options and leaves the rest:
DRAWS at random (variants.py); each algorithm alone, under "any"; and sums product by product for a
narrow accumulator, where nothing but the types is declared, of so many pixels, evenly spread, that
MOST_WORK products are not exceeded.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import Node, array_of
from refquant.ops.activation import ACTIVATIONS
from refquant.ops.conv import pad, windows
from refquant.verification.algorithms import ALGORITHMS, applies, convolved_by
from refquant.verification.bounds import enclose
from refquant.verification.declared import PLAIN, Declared
from refquant.verification.enclosed import Enclosed
from refquant.verification.variants import bias_of, computed, rounded
from refquant.verification.verdict import by_channel

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
DRAWS = 8
ROOM = 1.5  # so few variants have not yet been as far off as they can be
MOST_WORK = 1 << 24


class Measure(NamedTuple):
    """How far y^ is off, and the most that a variant is, both in one unit; whether that is near;
    how many variants there are."""

    own: float
    largest: float
    near: bool
    variants: int

    @property
    def k(self) -> float | None:
        """own / largest; None where a variant overflows, or none deviates."""
        if not np.isfinite(self.largest) or self.largest == 0:
            return None
        return min(self.own / self.largest, float(np.finfo(float).max))


def measure_of(
    node: Node, inputs: Sequence[Enclosed], found: NDArray[Any], declared: Declared
) -> Measure:
    """Equations (1) and (2) of what of y^ is finite, and their maxima over the variants."""
    plain = enclose(node, inputs, PLAIN)
    value, scale = by_channel(plain.value), by_channel(plain.bound).max(axis=1)
    sharp: list[Float64] = []
    others: list[Float64] = []
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        x = [item.value.astype(np.float32) for item in inputs]
        off = abs(by_channel(found) - value)
        own = shares(np.where(np.isfinite(off), off, 0), scale)
        for narrower in narrower_ones(declared):
            found_so = sharp if narrower.accumulator == "float32" else others
            found_so += [
                shares(abs(y - value[:, pixels]), scale)
                for y, pixels in variants_of(node, x, narrower)
            ]
    most = np.max(sharp, axis=0)
    near = bool((own <= ROOM * most).all() and np.isfinite(most).all())
    largest = float(max(most[0], *(other[0] for other in others), 0.0))
    return Measure(float(own[0]), largest, near, len(sharp) + len(others))


def shares(off: Float64, scale: Float64) -> Float64:
    """Equations (1) and (2): |y - value| (channels, elements) by the scale (channels,) of each."""
    off = np.where(np.isfinite(off), off, np.inf)
    sizes = np.stack([off.max(axis=1), np.sqrt((off**2).mean(axis=1))])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sizes > 0, sizes / scale, 0.0).max(axis=1, initial=0.0)


def narrower_ones(declared: Declared) -> Iterator[Declared]:
    """Every declaration that takes some of the options and leaves the rest as they are undeclared;
    itself last. Flushing takes no part: what it changes is less than any bound."""
    plain, options = Declared(), ("storage", "accumulator", "algorithm", "folded", "sigmoid")
    pairs = [
        dict.fromkeys((getattr(plain, option), getattr(declared, option))) for option in options
    ]
    for values in product(*pairs):
        yield declared._replace(**dict(zip(options, values, strict=True)))


def variants_of(
    node: Node, x: Sequence[Float32], declared: Declared
) -> Iterator[tuple[Float64, Any]]:
    """All variants under one declaration as (channels, elements), and which elements of all."""
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        yield by_channel(rounded(computed(node, x, declared, rng), declared.storage)), slice(None)
    if node.op == "conv" and declared.algorithm == "any":
        for y in by_algorithms(node, x[0], declared, rng):
            yield by_channel(y), slice(None)
    types_alone = Declared(declared.storage, declared.accumulator, flush=declared.flush)
    if node.op == "conv" and declared.accumulator != "float32" and declared == types_alone:
        yield from one_by_one(node, x[0], declared, rng)


def by_algorithms(
    node: Node, x: Float32, declared: Declared, rng: np.random.Generator
) -> Iterator[Float32]:
    """One by each algorithm that can be used for this node."""
    weight = rounded(array_of(node.arrays["weight"]).astype(np.float32), declared.storage)
    stride, padding = node.attributes["stride"], node.attributes["padding"]
    activation = ACTIVATIONS[node.attributes["activation"]]
    for algorithm in ALGORITHMS:
        if applies(algorithm, x, weight, stride):
            total = rounded(convolved_by(algorithm, x, weight, padding), declared.accumulator)
            total = rounded(total + bias_of(node, declared, rng), declared.accumulator)
            yield rounded(activation.ref(total), declared.storage)


def one_by_one(
    node: Node, x: Float32, declared: Declared, rng: np.random.Generator
) -> Iterator[tuple[Float64, NDArray[np.int64]]]:
    """(F, pixels): sums in a narrow accumulator, one product after the other, in the order of the
    weight's numbers and in a random one; and which of the N*P*Q pixels these are."""
    weight = rounded(array_of(node.arrays["weight"]).astype(np.float32), declared.storage)
    F, C, R, S = weight.shape
    view = windows(pad(x, node.attributes["padding"]), (R, S), node.attributes["stride"])
    columns = view.transpose(1, 4, 5, 0, 2, 3).reshape(C * R * S, -1)
    step = -(-columns.shape[1] * weight.size // MOST_WORK)
    pixels = np.arange(0, columns.shape[1], step)
    w, columns = weight.reshape(F, -1), columns[:, pixels]
    for order in (np.arange(len(columns)), rng.permutation(len(columns))):
        total = np.broadcast_to(bias_of(node, declared, rng).reshape(-1, 1), (F, len(pixels)))
        for k in order:
            total = rounded(total + w[:, k, None] * columns[k], declared.accumulator)
        y = ACTIVATIONS[node.attributes["activation"]].ref(total)
        yield rounded(y, declared.storage).astype(np.float64), pixels
