"""Causes where a node was judged by evidence alone: mostly the last output, all that was given.

The golden holds the model, its input and its outputs, so each mistake can be made here, and what
comes out at the node compared with y^:

    the input        each change of input_causes.py, and the network again                   (1)
    the predictions  each way of decode_causes.py and output_causes.py, from the golden's
                     own maps before the decode                                              (2)

A mistake explains y^ if in each group of columns (places, sizes, objectness, classes; or a map)

    max |y^ - t| <= IMPLAUSIBLE_K * max over VARIANTS variants v of max |t(v) - t|           (3)

with t what the mistake gives in the golden's arithmetic and t(v) in that of a variant: evidence
as in variants.py, of a network with the mistake. Two that explain it are told apart by the share
of (3) that they use, if it differs TELLING times; otherwise none is named. What is far from t, by
more than CRUDE of the largest of a group, is seen before variants are made.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.engine.walk import run, walk
from refquant.graph.graph import Model, Node
from refquant.verification.blame.decode_causes import DECODES, Levels, Predictions, levels_of
from refquant.verification.blame.input_causes import CHANGES
from refquant.verification.blame.output_causes import AFTER_DECODE
from refquant.verification.blame.plain import plain_note
from refquant.verification.declared import Declared
from refquant.verification.enclosed import given
from refquant.verification.report import NodeRow
from refquant.verification.variants import variant
from refquant.verification.verdict import IMPLAUSIBLE, IMPLAUSIBLE_K, WRONG

Array = NDArray[Any]
VARIANTS, TELLING, CRUDE = 2, 8.0, 2.0**-5


class Mistake(NamedTuple):
    """Its name, and what it gives: in the golden's arithmetic (None), or in that of a variant."""

    name: str
    made: Callable[[int | None], Array]


def with_far_cause(
    rows: Sequence[NodeRow],
    model: Model,
    x: NDArray[np.float32],
    tensor: Callable[[str], Array | None],
    declared: Declared,
) -> list[NodeRow]:
    """The rows; the first that is implausible by evidence of the network has its cause or note,
    unless a node is wrong, which explains those behind it."""
    far = [row for row in rows if row["verdict"] == IMPLAUSIBLE and row["basis"] == "evidence"]
    found = tensor(far[0]["node"]) if far else None
    if found is None or any(row["verdict"] == WRONG for row in rows):
        return list(rows)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        parts = explained_far(model, x, model[far[0]["node"]], found, declared)
    return [{**row, **parts} if row is far[0] else row for row in rows]


def explained_far(
    model: Model, x: NDArray[np.float32], node: Node, found: Array, declared: Declared
) -> NodeRow:
    """The cause of an output that is far from the golden's, or the note on how it was written."""
    maps = {n.name: y for n, y in walk(model, x) if n.name in (node.name, *node.inputs)}
    note = plain_note(found, maps[node.name])
    if note:
        return {"cause": None, "note": note}
    if not np.isfinite(found).all():
        return {"cause": None}
    mistakes = of_input(model, x, node, declared)
    if node.op == "decode":
        mistakes = (m for ms in (of_decode(model, x, node, maps, declared), mistakes) for m in ms)
    shares: dict[str, float] = {}
    for name, made in mistakes:
        share = share_of(found, made)
        if share <= 1:
            shares[name] = min(share, shares.get(name, 1.0))
    best = sorted(shares, key=lambda name: shares[name])
    alone = len(best) == 1 or (best and TELLING * shares[best[0]] < shares[best[1]])
    return {"cause": best[0] if alone else None}


def of_input(model: Model, x: Array, node: Node, declared: Declared) -> Iterator[Mistake]:
    """Equation (1)."""
    for name, changes in CHANGES:
        for change in changes:
            other = np.ascontiguousarray(change(x.astype(np.float64)), np.float32)
            if other.shape == x.shape and not np.array_equal(other, x):
                yield Mistake(name, partial(at, model, other, node, declared))


def at(
    model: Model, x: NDArray[np.float32], node: Node, declared: Declared, number: int | None
) -> Array:
    """The node's output for the input x, in the golden's arithmetic or a variant's."""
    if number is None and node.name == model.nodes[-1].name:
        return run(model, x)
    outputs = walk(model, x) if number is None else variant_of(model, x, declared, number)
    return next(y for n, y in outputs if n.name == node.name)


def variant_of(
    model: Model, x: NDArray[np.float32], declared: Declared, number: int
) -> Iterator[tuple[Node, NDArray[np.float32]]]:
    return variant(model, x, declared, np.random.default_rng((1, number)))


def of_decode(
    model: Model,
    x: NDArray[np.float32],
    node: Node,
    maps: dict[str, Array],
    declared: Declared,
) -> Iterator[Mistake]:
    """Equation (2)."""
    known: dict[int | None, dict[str, Array]] = {None: maps}

    def levels(number: int | None) -> Levels:
        if number not in known:
            outputs = variant_of(model, x, declared, number or 0)
            known[number] = {n.name: y for n, y in outputs if n.name in node.inputs}
        return levels_of(node, [given(known[number][name]) for name in node.inputs])

    def made(predictions: Predictions, i: int, first: Array, number: int | None) -> Array:
        return (
            first if number is None else next(islice(predictions(levels(number)), i, None)).value
        )

    for name, predictions in (*DECODES, *AFTER_DECODE):
        for i, first in enumerate(predictions(levels(None))):
            yield Mistake(name, partial(made, predictions, i, first.value))


def share_of(found: Array, made: Callable[[int | None], Array]) -> float:
    """The largest share of (3) that y^ uses; infinite where it is far from t."""
    t = made(None)
    if t.shape != found.shape:
        return np.inf
    pairs = list(zip(groups(found), groups(t), strict=True))
    if not all(abs(a - b).max() <= CRUDE * abs(b).max() for a, b in pairs):
        return np.inf
    others = [groups(made(number)) for number in range(VARIANTS)]
    shares = []
    for (a, b), *vs in zip(pairs, *others, strict=True):
        room = IMPLAUSIBLE_K * max(float(abs(v - b).max()) for v in vs)
        off = float(abs(a - b).max())
        shares.append(off / room if room else np.inf if off else 0.0)
    return max(shares)


def groups(y: Array) -> list[Array]:
    """The columns that are numbers of one kind, where y is predictions (N, rows, E)."""
    y = np.asarray(y, np.float64)
    if y.ndim != 3:
        return [y]
    return [y[..., :2], y[..., 2:4], y[..., 4:5], y[..., 5:]]
