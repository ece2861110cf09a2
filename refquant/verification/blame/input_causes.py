"""Mistakes before the network: colours, scale and layout of the input tensor.

They are seen at the input tensor, if the other side gives it, otherwise at the first node, which
is tried with a wrongly prepared input.
"""

from collections.abc import Callable, Iterator

import numpy as np

from refquant.graph.graph import INPUT, Node
from refquant.verification.blame.trial import Array, Cause, Inputs, Trial
from refquant.verification.enclosed import Enclosed

# The channel means and deviations of ImageNet, as used by many other networks.
MEAN = np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1)
DEVIATION = np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)
ROUNDINGS = 2.0**-22  # a few float32 roundings of the preparation itself
GREY = 114 / 255


def grey_border(x: Array, value: float) -> Array:
    """The letterbox's bars, whole rows and columns of one grey, in another grey."""
    bars: Array = np.all(abs(x - GREY) < 1e-6, axis=1, keepdims=True)
    rows = np.all(bars, axis=3, keepdims=True)
    columns = np.all(bars, axis=2, keepdims=True)
    return np.where(rows | columns, value, x)


Change = Callable[[Array], Array]
CHANGES: tuple[tuple[str, tuple[Change, ...]], ...] = (
    ("BGR for RGB", (lambda x: x[:, ::-1],)),
    ("no division by 255", (lambda x: 255 * x,)),
    ("division by 255 twice", (lambda x: x / 255,)),
    (
        "division by 256 or a shift",
        (lambda x: x * (255 / 256), lambda x: x - 0.5, lambda x: 2 * x - 1),
    ),
    ("BGR, and no division by 255", (lambda x: 255 * x[:, ::-1],)),
    ("normalized with ImageNet's means", (lambda x: (x - MEAN) / DEVIATION,)),
    ("rows and columns exchanged", (lambda x: x.swapaxes(2, 3),)),
    ("image mirrored", (lambda x: x[..., ::-1], lambda x: x[:, :, ::-1])),
    (
        "NHWC read as NCHW",
        (lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(x.shape),),
    ),
    (
        "letterbox with another grey",
        (lambda x: grey_border(x, 0.0), lambda x: grey_border(x, 0.5)),
    ),
)


def prepared(*changes: Change) -> Callable[[Node, Inputs], Iterator[Trial]]:
    """Trials of a node that reads the image, with that image changed."""

    def trials(node: Node, inputs: Inputs) -> Iterator[Trial]:
        for change in changes:
            changed = [
                wrong(x, change) if name == INPUT else x
                for name, x in zip(node.inputs, inputs, strict=True)
            ]
            if all(a.value.shape == b.value.shape for a, b in zip(changed, inputs, strict=True)):
                yield Trial(node, changed)

    return trials


def wrong(x: Enclosed, change: Change) -> Enclosed:
    """The image changed, with the roundings that doing so may have cost."""
    value = change(x.value)
    return Enclosed(value, np.full_like(value, ROUNDINGS * abs(value).max()))


INPUT_CAUSES = tuple(Cause(name, ("input",), prepared(*changes)) for name, changes in CHANGES)


def explain_input(found: Array, x: Array) -> str | None:
    """The cause of a wrong input tensor."""
    exact = np.asarray(x, np.float64)
    for name, changes in CHANGES:
        for change in changes:
            other = change(exact)
            if other.shape != found.shape or np.array_equal(other, exact):
                continue
            if (abs(found - other) <= ROUNDINGS * abs(other).max()).all():
                return name
    return None
