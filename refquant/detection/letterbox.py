"""The letterbox: an image scaled into the network's input, grey bars around it, and the way back.

Sizes are (height, width) in pixels; T = (T_h, T_w) is the target, (h, w) is the image.

    gain = min(T_h / h, T_w / w)                     float64                     (1)
    nh = rint(h * gain),  nw = rint(w * gain)        half to even, at least 1    (2)
    spare = T - n on either axis; with rectangle=True it is taken mod stride     (3)
    top = spare // 2, bottom = spare - top; left and right likewise              (4)
    net = n + spare is the size of the network's input                           (5)
    the pixels around the image are 114 in every channel                         (6)
    x (1, 3, H, W) float32 = RGB / 255, a division in float32                    (7)

(4) is rint(spare / 2 - 0.1) and rint(spare / 2 + 0.1) of the public code: the odd pixel goes to
the bottom and to the right. The image is resized by resize.py, or by area.py where the geometry
says so, and only if its size changes.

The way back to the image, per axis (here x), takes `left` and nw as they were really applied, and
is rounded once from float64:
    x_image = clip((x - left) * (w / nw), 0, w)                                  (8)
It is exact, since resize.py maps edges to edges. The public detect code recomputes both numbers,
    x_image = clip((x - (T_w - w * gain) / 2) / gain, 0, w)       in float32     (9)
where T is the network's input. It is off by up to half a pixel of that input where the bars are
odd, and by the rounding of (2). The public test code keeps the numbers that it applied, but takes
an odd bar for two equal halves, and the gain of the rows for both axes,
    x_image = clip((x - (T_w - nw) / 2) / (nh / h), 0, w)         in float32     (10)
"exact" is (8), the default; "compat" is (9); "stored" is (10).

Source  the public YOLOv7 detect path, with the same sizes, bars and pixels; for an image of 1x5000
        (2) gives 1, where the public code has no answer. Its test path is in batch_shapes.py.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.detection import area, resize

GREY = 114
BACK = ("exact", "compat", "stored")
Size = tuple[int, int]


@dataclass(frozen=True)
class Letterbox:
    """Where an image lies in the network's input; sizes are (height, width) in pixels.

    image      the size of the image
    resized    its size in the network's input
    net        the size of the network's input
    top, left  the grey rows above the image and the grey columns to the left of it
    area       whether the image shrinks by the mean of areas instead of bilinearly
    """

    image: Size
    resized: Size
    net: Size
    top: int
    left: int
    area: bool = False

    @property
    def bottom(self) -> int:
        """Grey rows below the image."""
        return self.net[0] - self.resized[0] - self.top

    @property
    def right(self) -> int:
        """Grey columns to the right of the image."""
        return self.net[1] - self.resized[1] - self.left


def fit(image: Size, target: Size, *, rectangle: bool = False, stride: int = 32) -> Letterbox:
    """The geometry for an image of that size.

    target      the largest network input; its sides are multiples of the stride
    rectangle   whether the bars are cut to the smallest input whose sides are multiples of the
                stride; otherwise the input is the target
    """
    if min(image) < 1:
        raise BadInput(f"image={image}", "has no pixels")
    if min(target) < 1 or target[0] % stride or target[1] % stride:
        raise BadInput(f"target={target}", f"not a multiple of {stride} on both sides")
    gain = min(target[0] / image[0], target[1] / image[1])  # (1)
    height, width = (max(1, round(side * gain)) for side in image)  # (2)
    spare = [target[0] - height, target[1] - width]
    if rectangle:
        spare = [pixels % stride for pixels in spare]  # (3)
    net = (height + spare[0], width + spare[1])  # (5)
    return Letterbox(image, (height, width), net, spare[0] // 2, spare[1] // 2)  # (4)


def letterbox(image: NDArray[np.uint8], place: Letterbox) -> NDArray[np.uint8]:
    """The network's input as an image: from (h, w, 3) to (net height, net width, 3), uint8."""
    if image.shape[:2] != place.image:
        raise BadInput("image", f"{image.shape[:2]} pixels, the letterbox is for {place.image}")
    canvas = np.full((*place.net, image.shape[2]), GREY, np.uint8)  # (6)
    height, width = place.resized
    inside = canvas[place.top : place.top + height, place.left : place.left + width]
    resized_by = area.resize_fast if place.area else resize.resize_fast
    inside[...] = resized_by(image, height, width)
    return canvas


def to_input(canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(7): from (H, W, 3) uint8 RGB to (1, 3, H, W) float32 in [0, 1]."""
    planes = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None])
    return planes.astype(np.float32) / np.float32(255.0)


def to_image(
    boxes: NDArray[np.float32], place: Letterbox, back: str = "exact"
) -> NDArray[np.float32]:
    """Boxes (D, 4), x1 y1 x2 y2, from pixels of the network's input to pixels of the image."""
    height, width = place.image
    limit = np.array([width, height, width, height])
    if back == "exact":
        scale = np.array([width / place.resized[1], height / place.resized[0]] * 2)
        start = np.array([place.left, place.top] * 2)
        moved = (boxes.astype(np.float64) - start) * scale  # (8)
    elif back == "compat":
        gain = min(place.net[0] / height, place.net[1] / width)
        moved = in_float32(boxes, place.net, (height * gain, width * gain), gain)  # (9)
    elif back == "stored":
        gain = place.resized[0] / height
        moved = in_float32(boxes, place.net, place.resized, gain)  # (10)
    else:
        raise BadInput(f"back={back!r}", f"choose {' | '.join(BACK)}")
    return np.clip(moved, 0, limit).astype(np.float32)


def in_float32(
    boxes: NDArray[np.float32], net: Size, inside: tuple[float, float], gain: float
) -> NDArray[np.float32]:
    """(boxes - half the bars around `inside`) / gain, the two numbers rounded to float32 first."""
    start = np.array([(net[1] - inside[1]) / 2, (net[0] - inside[0]) / 2] * 2)
    return (boxes - start.astype(np.float32)) / np.float32(gain)
