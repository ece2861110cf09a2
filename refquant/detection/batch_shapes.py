"""The geometry of the public YOLOv7 test code: images in batches of one rectangular input each.

Sizes are (height, width) in pixels; (h0, w0) is that of the image, S is the size that is asked
for, and g = max(stride, 32). S is first rounded up to a multiple of g. Then, in float64:

    r = S / max(h0, w0)                                                          (1)
    h = int(h0 * r),  w = int(w0 * r)     truncated, but at least 1              (2)
    the image is resized by areas (area.py) if r < 1, bilinearly (resize.py)
    if r > 1, and not at all if r = 1                                            (3)
    the images, in the order of h0 / w0 and then of their ids, form batches of B (4)
    m, M = least and greatest h0 / w0 of a batch                                 (5)
    shape = (M, 1) if M < 1;  (1, 1 / m) if m > 1;  otherwise (1, 1)             (6)
    net = ceil(shape * S / g + 0.5) * g       half a stride of padding           (7)
    top = (net_h - h) // 2, left = (net_w - w) // 2                              (8)

By (2) the longer side is sometimes S - 1: for some sizes (638, 1077, ...) the product of two
doubles falls below S. By (6) and (7) a net is larger than each of its images, since
net_h >= M * S + g / 2 > h and net_w likewise, so there is never a second resize. A square image of
640 runs at 672 x 672.

The shapes depend on B and on which images are measured, and hence, slightly, the detections do
too; neither depends on the order of the images. The sort of the public code leaves the order of
equal ratios open: where a batch ends among them, it may cut elsewhere.

Source  the public YOLOv7 test path, pad 0.5; "at least 1" is for images on which that path fails.
"""

import math
from collections.abc import Sequence

from refquant.detection.letterbox import Letterbox, Size

BATCH = 32  # as in the public code
LEAST_GRID = 32


def grid_of(stride: int) -> int:
    """g, of which the sides of the network's input are multiples."""
    return max(stride, LEAST_GRID)


def loaded(image: Size, size: int) -> Size:
    """The size (h, w) of (2)."""
    r = size / max(image)  # (1)
    if r == 1:
        return image
    return max(1, int(image[0] * r)), max(1, int(image[1] * r))  # (2)


def batch_nets(images: Sequence[Size], size: int, stride: int, batch: int = BATCH) -> list[Size]:
    """The network's input for every image, in the order given, which must be that of the ids."""
    ratios = [height / width for height, width in images]
    order = sorted(range(len(images)), key=ratios.__getitem__)  # (4), stable
    nets: list[Size] = [(0, 0)] * len(images)
    for start in range(0, len(order), batch):
        members = order[start : start + batch]
        net = net_of(ratios[members[0]], ratios[members[-1]], size, stride)  # (5)
        for i in members:
            nets[i] = net
    return nets


def net_of(least: float, greatest: float, size: int, stride: int) -> Size:
    """(6) and (7) for a batch whose least and greatest h0 / w0 are these."""
    g = grid_of(stride)
    S = math.ceil(size / g) * g
    shape = (1.0, 1.0)
    if greatest < 1:
        shape = (greatest, 1.0)
    elif least > 1:
        shape = (1.0, 1 / least)
    height, width = (math.ceil(side * S / g + 0.5) * g for side in shape)  # (7)
    return height, width


def place_in(image: Size, size: int, stride: int, net: Size | None = None) -> Letterbox:
    """Where an image lies in the input of its batch; without a `net` it is a batch of its own."""
    if net is None:
        net = net_of(image[0] / image[1], image[0] / image[1], size, stride)
    g = grid_of(stride)
    S = math.ceil(size / g) * g
    h, w = loaded(image, S)
    top, left = (net[0] - h) // 2, (net[1] - w) // 2  # (8)
    return Letterbox(image, (h, w), net, top, left, area=max(image) > S)  # (3)
