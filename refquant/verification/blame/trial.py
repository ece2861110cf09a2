"""A hypothesis about a wrong node, and whether it explains what was found.

A Cause has a name, the operations at which it can happen, and `trials`: ways to compute the node
with that mistake. Trial(node, inputs, after) means  after(enclose(node, inputs))  and

    a trial explains y^  if  |y^ - value| <= bound  at every element                        (1)

with value and bound of the trial: the same bounds as for a right node, so an explanation is as
exact as a verdict. Convolutions are first tried on a few filters, which nearly always is enough to
drop a trial. Causes with unknown numbers in them (a batch norm's, say) give `fits` instead: a
function that says itself whether y^ is explained.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import Node, array_of
from refquant.verification.bounds import enclose
from refquant.verification.declared import Declared
from refquant.verification.enclosed import Enclosed

Array = NDArray[Any]
Inputs = Sequence[Enclosed]
FEW_FILTERS = 3


class Trial(NamedTuple):
    """One way to compute a node with a mistake in it."""

    node: Node
    inputs: Inputs
    after: Callable[[Enclosed], Enclosed] | None = None


class Cause(NamedTuple):
    """A usual mistake; `ops` are names in OPS, "input" stands for nodes that read the image."""

    name: str
    ops: tuple[str, ...]
    trials: Callable[[Node, Inputs], Iterable[Trial]] | None = None
    fits: Callable[[Node, Inputs, Array, Declared], bool] | None = None


def explained(cause: Cause, node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
    """Whether the cause explains what was found."""
    if cause.fits is not None:
        return cause.fits(node, inputs, found, declared)
    assert cause.trials is not None
    for trial in cause.trials(node, inputs):
        if trial.node.op == "conv" and not holds(few(trial), found[:, filters(trial)], declared):
            continue
        if holds(trial, found, declared):
            return True
    return False


def holds(trial: Trial, found: Array, declared: Declared) -> bool:
    """Rule (1). An infinite bound explains nothing."""
    y = enclose(trial.node, trial.inputs, declared)
    if trial.after is not None:
        y = trial.after(y)
    if y.value.shape != found.shape or not np.isfinite(y.bound).all():
        return False
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((abs(np.asarray(found, np.float64) - y.value) <= y.bound).all())


def filters(trial: Trial) -> list[int]:
    """A few filters, spread."""
    F = trial.node.arrays["weight"].shape[0]
    return sorted({int(f) for f in np.linspace(0, F - 1, FEW_FILTERS)})


def few(trial: Trial) -> Trial:
    """The trial for a few filters only."""
    chosen = filters(trial)
    arrays = {key: array_of(value)[chosen] for key, value in trial.node.arrays.items()}
    return trial._replace(node=replace(trial.node, arrays=arrays))


def with_arrays(node: Node, **changes: Any) -> Node:
    """The node with some arrays replaced; None takes one away."""
    arrays = {**node.arrays, **changes}
    return replace(node, arrays={k: v for k, v in arrays.items() if v is not None})


def with_attributes(node: Node, **changes: Any) -> Node:
    return replace(node, attributes={**node.attributes, **changes})


def weight_of(node: Node) -> Array:
    """A convolution's weight, (F, C, R, S)."""
    return array_of(node.arrays["weight"])


def mapped(x: Enclosed, change: Callable[..., Array], *arguments: Any) -> Enclosed:
    """An input with its elements moved by change(array, *arguments): value and bound."""
    return Enclosed(change(x.value, *arguments), change(x.bound, *arguments))
