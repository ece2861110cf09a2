"""The demo's data: scenes of textured shapes, made by rule from a seed, of nobody else's material.

image    (SIDE, SIDE, 3) uint8, RGB, of at most COLOURS colours
boxes    (D, 4) float64, x1 y1 x2 y2 in pixels, whole numbers; classes (D,) int64

One image is made in this order, every number drawn from default_rng((split, index)):
    ground    two colours mixed by a smooth random field, and a faint pattern
    clutter   2 to 6 strokes, arcs, blobs and corners that are no class
    objects   4 to 11 tries of a class, radius log-uniform in 6.5 ... 50 pixels, any angle,
              mild stretch and perspective, own colours and pattern
    clutter   0 to 2 more, over the objects
    camera    blur, gain and offset, noise; then the palette: the image is reduced to COLOURS
              colours without dithering, so that a lossless file stays small. Training and
              validation images go through the same, so their distributions agree.

Rules
    A box is tight around the pixels that the shape covers by at least half, before occlusion, cut
    at the image's border. Its shortest side is at least SHORTEST pixels.
    An object is left out (not painted) if less than INSIDE of its pixels lie in the image.
    Whatever would leave an object painted before with less than VISIBLE of its pixels is not
    painted: so every object in an image is labelled, and no label is of something hidden.

Split 1 is for training, 2 for validation: their seeds, and so their images, are disjoint.
The files of the validation images are shipped; that the generator gives the same pixels again
is promised for one version of NumPy and Pillow only (README.md has them).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .shapes import CLASSES, CLUTTER, Inside, Pose, coverage, place, window

SIDE = 160
COLOURS = 64
SHORTEST = 10
INSIDE = 0.75
VISIBLE = 0.6
SPLITS = {"train": 1, "val": 2}
NAMES = tuple(CLASSES)
CONTRAST = 60.0  # least RGB distance of a shape's colour from nine tenths of the pixels under it
Float64 = NDArray[np.float64]


class Scene(NamedTuple):
    """An image and what is in it; shapes and dtypes as in the file's docstring."""

    image: NDArray[np.uint8]
    boxes: Float64
    classes: NDArray[np.int64]


class Canvas:
    """The image under construction, and who owns each pixel: -1 nobody, k the k-th object."""

    def __init__(self, ground: Float64) -> None:
        self.pixels = ground
        self.owner = np.full((SIDE, SIDE), -1)
        self.areas: list[int] = []

    def hides_too_much(self, rows: slice, columns: slice, solid: NDArray[np.bool_]) -> bool:
        """Whether painting there leaves an earlier object with less than VISIBLE of its pixels."""
        count = len(self.areas)
        if count == 0:
            return False
        lost = np.bincount(self.owner[rows, columns][solid] + 1, minlength=count + 1)[1:]
        left = np.bincount(self.owner.ravel() + 1, minlength=count + 1)[1:] - lost
        return bool((left < VISIBLE * np.array(self.areas)).any())

    def take(self, rows: slice, columns: slice, solid: NDArray[np.bool_], labelled: bool) -> None:
        """Note who owns the pixels that were painted."""
        self.owner[rows, columns][solid] = len(self.areas) if labelled else -1
        if labelled:
            self.areas.append(int(solid.sum()))


def scene(split: str, index: int) -> Scene:
    """The image of that number in that split."""
    rng = np.random.default_rng((SPLITS[split], index))
    canvas = Canvas(ground(rng))
    clutter(rng, canvas, int(rng.integers(2, 7)))
    boxes, classes = [], []
    for _ in range(rng.integers(4, 12)):
        label = int(rng.integers(len(NAMES)))
        box = paint(rng, canvas, CLASSES[NAMES[label]], random_pose(rng, 6.5, 50), True)
        if box is not None:
            boxes.append(box)
            classes.append(label)
    clutter(rng, canvas, int(rng.integers(0, 3)))
    image = camera(rng, canvas.pixels)
    return Scene(image, np.array(boxes, float).reshape(-1, 4), np.array(classes, np.int64))


def random_pose(rng: np.random.Generator, smallest: float, largest: float) -> Pose:
    x, y = rng.uniform(0, SIDE, 2)
    radius = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
    stretch = float(np.exp(rng.uniform(-0.15, 0.15)))
    tilt = tuple(rng.uniform(-0.15, 0.15, 2))
    return Pose(x, y, radius, rng.uniform(0, 2 * np.pi), stretch, tilt)


def clutter(rng: np.random.Generator, canvas: Canvas, count: int) -> None:
    """Paint shapes of no class."""
    for _ in range(count):
        shape = CLUTTER[rng.integers(len(CLUTTER))]
        paint(rng, canvas, shape, random_pose(rng, 6, 40), False)


def paint(
    rng: np.random.Generator, canvas: Canvas, shape: Inside, pose: Pose, labelled: bool
) -> tuple[int, ...] | None:
    """Paint a shape and return its box, or None where a rule forbids it; see the docstring."""
    share = coverage(shape, pose)
    left, top, right, bottom = window(pose)
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(right, SIDE), min(bottom, SIDE)
    if x1 >= x2 or y1 >= y2:
        return None
    where = slice(y1, y2), slice(x1, x2)
    seen = share[y1 - top : y2 - top, x1 - left : x2 - left]
    solid = seen >= 0.5
    if not solid.any() or canvas.hides_too_much(*where, solid):
        return None
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    box = x1 + columns[0], y1 + rows[0], x1 + columns[-1] + 1, y1 + rows[-1] + 1
    cut = solid.sum() < INSIDE * (share >= 0.5).sum()
    if labelled and (cut or min(box[2] - box[0], box[3] - box[1]) < SHORTEST):
        return None
    area = canvas.pixels[where]
    y, x = np.mgrid[where] + 0.5
    colours = skin(rng, *place(pose, x, y), area[solid], pose.radius)
    area += seen[..., None] * (colours - area)
    canvas.take(*where, solid, labelled)
    return tuple(int(side) for side in box)


def skin(
    rng: np.random.Generator, x: Float64, y: Float64, under: Float64, radius: float
) -> Float64:
    """The colours of a shape at shape coordinates: a base that differs from what is under it, a
    second colour near it, mixed by a pattern, and a shading across the shape."""
    near, base = 0.0, under[0]
    while near < CONTRAST:
        base = rng.uniform(10, 245, 3)
        near = np.quantile(np.linalg.norm(under - base, axis=1), 0.1)
    second = base + rng.normal(0, 22, 3)
    shading = rng.normal(0, 12) * x + rng.normal(0, 12) * y
    mix = pattern(rng, x * radius, y * radius)
    return base + mix[..., None] * (second - base) + shading[..., None]


def pattern(rng: np.random.Generator, x: Float64, y: Float64) -> Float64:
    """A field in [0, 1] over coordinates in pixels: plain, stripes, squares, spots or waves."""
    period = rng.uniform(5, 14)
    turn = rng.uniform(0, np.pi)
    u = (np.cos(turn) * x + np.sin(turn) * y) * (2 * np.pi / period)
    v = (np.cos(turn) * y - np.sin(turn) * x) * (2 * np.pi / period)
    kind = rng.integers(5)
    if kind == 0:
        return np.zeros_like(x)
    if kind == 1:
        return (np.sin(u) > 0).astype(float)
    if kind == 2:
        return (np.sin(u) * np.sin(v) > 0).astype(float)
    if kind == 3:
        return (np.sin(u) + np.sin(v) > 1).astype(float)
    return 0.5 + 0.5 * np.sin(u + np.sin(v))


def field(rng: np.random.Generator, cells: int) -> Float64:
    """A smooth random field, about standard normal: a small grid of numbers, enlarged."""
    grid = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(grid.resize((SIDE, SIDE), Image.Resampling.BICUBIC), float)


def ground(rng: np.random.Generator) -> Float64:
    """The background before anything is painted: (SIDE, SIDE, 3) float64."""
    first = rng.uniform(30, 225, 3)
    second = first + rng.normal(0, 45, 3)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    mix = 0.5 + 0.4 * field(rng, int(rng.integers(3, 7))) + 0.12 * field(rng, 40)
    faint = rng.normal(0, 10, 3) * pattern(rng, x, y)[..., None]
    return first + mix[..., None] * (second - first) + faint


def camera(rng: np.random.Generator, pixels: Float64) -> NDArray[np.uint8]:
    """Blur, gain, offset, noise, and the palette."""
    a = rng.uniform(0, 0.25)
    for axis in (0, 1):  # [a, 1 - 2a, a], the border repeated
        padded = np.concatenate(
            [pixels.take([0], axis), pixels, pixels.take([-1], axis)], axis=axis
        )
        before, after = np.arange(SIDE), np.arange(2, SIDE + 2)
        pixels = (1 - 2 * a) * pixels + a * (padded.take(before, axis) + padded.take(after, axis))
    pixels = pixels * rng.uniform(0.8, 1.1) + rng.uniform(-10, 10)
    pixels = pixels + rng.normal(0, rng.uniform(1, 8), pixels.shape[:2])[..., None]
    photo = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    few = photo.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    return np.asarray(few.convert("RGB"))
