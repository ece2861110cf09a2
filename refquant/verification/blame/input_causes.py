"""Mistakes before the network: colours, scale, layout and place of the image in the input tensor.

They are seen at the input tensor, if the other side gives it, otherwise at the first node, which
is tried with a wrongly prepared input. Each changes x, the golden's input, to numbers that are
known exactly, but for two, which would need the picture itself. These are seen at the tensor
alone, by evidence: it is a picture, every number a multiple of 1/255, and

    stretched            rms(found - stretched x) <= ALIKE * std(x), and at most half of
                         rms(found - x): the inside of the bars, resized to the whole      (1)
    resized otherwise    rms(found - x) <= ALIKE * std(x), the bars equal x's, and more than
                         SHARE of the numbers do not: other pixels, or another decoder     (2)
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from refquant.detection import resize
from refquant.graph.graph import INPUT, Node
from refquant.verification.blame.trial import Array, Cause, Inputs, Trial
from refquant.verification.enclosed import Enclosed

# The channel means and deviations of ImageNet, as used by many other networks.
MEAN = np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1)
DEVIATION = np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)
ROUNDINGS = 2.0**-22  # a few float32 roundings of the preparation itself
GREY = 114 / 255


def bars(x: Array) -> tuple[Array, Array]:
    """Which whole rows (1, 1, H, 1) and columns (1, 1, 1, W) are the letterbox's bars."""
    grey: Array = np.all(abs(x - GREY) < 1e-6, axis=(0, 1), keepdims=True)
    return np.all(grey, axis=3, keepdims=True), np.all(grey, axis=2, keepdims=True)


def grey_border(x: Array, value: float) -> Array:
    """The letterbox's bars in another grey."""
    rows, columns = bars(x)
    return np.where(rows | columns, value, x)


def inside(x: Array) -> tuple[slice, slice]:
    """The rows and columns of the image between the bars; all where everything is grey."""
    found = []
    for is_bar in bars(x):
        image = np.flatnonzero(~is_bar)
        found.append(slice(int(image[0]), int(image[-1]) + 1) if image.size else slice(None))
    return found[0], found[1]


def padded_at(x: Array, at_end: bool) -> Array:
    """The bars all at the end, below and to the right of the image, or all before it."""
    rows, columns = inside(x)
    image, (H, W) = x[:, :, rows, columns], x.shape[2:]
    top, left = (0, 0) if at_end else (H - image.shape[2], W - image.shape[3])
    y: Array = np.full_like(x, GREY)
    y[:, :, top : top + image.shape[2], left : left + image.shape[3]] = image
    return y


Change = Callable[[Array], Array]
CHANGES: tuple[tuple[str, tuple[Change, ...]], ...] = (
    ("BGR for RGB", (lambda x: x[:, ::-1],)),
    ("no division by 255", (lambda x: 255 * x,)),
    ("division by 255 twice", (lambda x: x / 255,)),
    ("division by 256", (lambda x: x * (255 / 256),)),
    ("shifted by a half: x - 0.5", (lambda x: x - 0.5, lambda x: x - 128 / 255)),
    ("scaled to -1..1: 2x - 1", (lambda x: 2 * x - 1, lambda x: x * (255 / 128) - 1)),
    ("video range: 16 to 235 for 0 to 255", (lambda x: (219 * x + 16) / 255,)),
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
        tuple(partial(grey_border, value=g) for g in (0.0, 0.5, 128 / 255, 127 / 255, 1.0)),
    ),
    ("letterbox on one side", (lambda x: padded_at(x, True), lambda x: padded_at(x, False))),
)
STRETCHED, OTHERWISE = "stretched for letterboxed", "image resized or decoded otherwise"
ALIKE, SHARE = 0.25, 0.01


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
    if found.shape != x.shape or not (abs(found) <= 1).all():
        return None
    return of_picture(np.asarray(found, np.float64), exact)


def of_picture(found: Array, x: Array) -> str | None:
    """Rules (1) and (2)."""
    codes = np.rint(255 * found)
    if not (abs(255 * found - codes) < 1e-3).all() or codes.min() < 0:
        return None
    rows, columns = bars(x)
    away, near = rms(found - x), ALIKE * x.std()
    if (rows.any() or columns.any()) and not (rows.all() or columns.all()):
        off = rms(found - stretched(x))
        if off <= min(near, away / 2):
            return STRETCHED
    same: Array = found == x
    same |= abs(found - x) < 1e-6
    if away <= near and (same | ~(rows | columns)).all() and (~same).mean() > SHARE:
        return OTHERWISE
    return None


def stretched(x: Array) -> Array:
    """The inside of the bars resized to the whole, as far as x still has it."""
    rows, columns = inside(x)
    image = np.rint(255 * x[0, :, rows, columns]).astype(np.uint8).transpose(1, 2, 0)
    whole = resize.resize_fast(np.ascontiguousarray(image), *x.shape[2:])
    return whole.transpose(2, 0, 1)[None] / 255.0


def rms(x: Array) -> float:
    return float(np.sqrt((x**2).mean()))
