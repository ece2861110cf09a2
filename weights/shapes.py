"""The shapes of the demo's scenes: each is a set of points of the plane, told by `inside(x, y)`.

x, y     (...,) float64   shape coordinates; the shape reaches about 1 from the origin
inside   (...,) bool

A shape is drawn by asking, for 3 x 3 points of every pixel, where the pixel lies in the shape:

    q = rotation(-angle) * (p - centre) / radius           p in pixels           (1)
    q = q / (stretch, 1 / stretch)                                               (2)
    (x, y) = q / (1 + tilt . q)                            mild perspective      (3)
    coverage(pixel) = share of its 9 points that are inside                      (4)

So nothing is rasterised by a library, and the same numbers give the same pixels everywhere where
sine, cosine and arctangent agree. CLASSES are what the network learns; CLUTTER is what it must
learn to leave alone: strokes, arcs, blobs and corners that are no class.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Inside = Callable[[Float64, Float64], NDArray[np.bool_]]
POINTS = 3  # per pixel and axis
REACH = 1.75  # farthest point of any shape under (2) and (3), in radii


class Pose(NamedTuple):
    """Where and how a shape lies; x and y of the centre and the radius in pixels, angle in rad."""

    x: float
    y: float
    radius: float
    angle: float
    stretch: float
    tilt: tuple[float, float]


def disc(x: Float64, y: Float64) -> NDArray[np.bool_]:
    return x * x + y * y <= 1


def ring(x: Float64, y: Float64) -> NDArray[np.bool_]:
    r = x * x + y * y
    return (r <= 1) & (r >= 0.55**2)


def square(x: Float64, y: Float64) -> NDArray[np.bool_]:
    return np.maximum(abs(x), abs(y)) <= 0.85


def triangle(x: Float64, y: Float64) -> NDArray[np.bool_]:
    slanted = 0.5 * y + 0.75**0.5 * abs(x)
    return (slanted <= 0.55) & (y >= -0.55)


def star(x: Float64, y: Float64) -> NDArray[np.bool_]:
    """Five points; each half point is bounded by the line from (1, 0) to 0.42 at 36 degrees."""
    tenth = np.pi / 5
    turn = abs((np.arctan2(y, x) + tenth) % (2 * tenth) - tenth)
    r = np.hypot(x, y)
    px, py = r * np.cos(turn), r * np.sin(turn)
    ax, ay = 0.42 * np.cos(tenth), 0.42 * np.sin(tenth)
    return (px - 1) * ay - py * (ax - 1) <= 0


def cross(x: Float64, y: Float64) -> NDArray[np.bool_]:
    return (np.minimum(abs(x), abs(y)) <= 0.3) & (np.maximum(abs(x), abs(y)) <= 0.95)


def crescent(x: Float64, y: Float64) -> NDArray[np.bool_]:
    x = x - 0.3
    return (x * x + y * y <= 1) & ((x - 0.5) ** 2 + y * y >= 0.75**2)


def arrow(x: Float64, y: Float64) -> NDArray[np.bool_]:
    shaft = (x >= -1) & (x <= 0.2) & (abs(y) <= 0.26)
    head = (x >= 0) & (abs(y) <= 0.8 * (1 - x))
    return shaft | head


def stroke(x: Float64, y: Float64) -> NDArray[np.bool_]:
    return (abs(x) <= 1) & (abs(y) <= 0.1)


def arc(x: Float64, y: Float64) -> NDArray[np.bool_]:
    r = np.hypot(x, y)
    return (r <= 1) & (r >= 0.82) & (x > 0.1)


def blob(x: Float64, y: Float64) -> NDArray[np.bool_]:
    turn = np.arctan2(y, x)
    return np.hypot(x, y) <= 0.62 + 0.2 * np.sin(2 * turn) + 0.17 * np.sin(3 * turn + 1)


def corner(x: Float64, y: Float64) -> NDArray[np.bool_]:
    return (np.minimum(x, y) >= -0.7) & (np.minimum(x, y) <= -0.45) & (np.maximum(x, y) <= 0.8)


CLASSES: dict[str, Inside] = {
    shape.__name__: shape for shape in (disc, ring, square, triangle, star, cross, crescent, arrow)
}
CLUTTER: tuple[Inside, ...] = (stroke, arc, blob, corner)


def place(pose: Pose, x: Float64, y: Float64) -> tuple[Float64, Float64]:
    """Shape coordinates of points given in pixels: (1) to (3)."""
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    dx, dy = (x - pose.x) / pose.radius, (y - pose.y) / pose.radius
    qx = (cos * dx + sin * dy) / pose.stretch  # (1), (2)
    qy = (cos * dy - sin * dx) * pose.stretch
    w = 1 + pose.tilt[0] * qx + pose.tilt[1] * qy  # (3)
    return qx / w, qy / w


def window(pose: Pose) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of whole pixels that hold the shape; may leave the image."""
    reach = REACH * pose.radius + 1
    low = int(np.floor(pose.x - reach)), int(np.floor(pose.y - reach))
    side = int(np.ceil(2 * reach)) + 1
    return low[0], low[1], low[0] + side, low[1] + side


def coverage(inside: Inside, pose: Pose) -> Float64:
    """(4) over the window of the pose: (rows, columns) float64 in [0, 1]."""
    left, top, right, bottom = window(pose)
    offset = (np.arange(POINTS) + 0.5) / POINTS
    x = (np.arange(left, right)[:, None] + offset).reshape(1, -1)
    y = (np.arange(top, bottom)[:, None] + offset).reshape(-1, 1)
    hit = inside(*place(pose, x, y))
    return hit.reshape(bottom - top, POINTS, right - left, POINTS).mean(axis=(1, 3))
