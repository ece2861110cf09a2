"""What the demo learns from: which predictions answer for which box, and what their errors cost.

boxes (G, 4) float32 centre x, centre y, width, height in pixels; classes (G,) int64;
image (G,) int64, the number in the batch; raw: the head's maps, one (N, A*E, H, W) per level.

Candidates come from the decode (refquant/ops/head.py): it gives the centre
(2p - 0.5 + cell) * stride, from half a cell before the cell to half a cell after it, and sides
(2p)**2 * anchor below four times the anchor. So for a box
    cells    the one its centre lies in and the nearer neighbour in either axis     (1)
    anchors  with max(side / anchor, anchor / side) < RATIO in both axes, any level (2)

Of these each box takes few, by SimOTA (Ge et al. 2021, YOLOX, arXiv 2107.08430, section 2.1):
    cost = BCE of the classes at sqrt(class * objectness) - 3 log IoU               (3)
    k = sum of the 10 largest IoU, rounded down, at least 1                         (4)
    the k cheapest candidates are positive; one wanted twice goes where it is cheapest (5)

Loss, all sums divided by the number of positives P (YOLOX's weights):
    5 * sum (1 - CIoU)          Zheng et al. 2020, arXiv 1911.08287: IoU - distance - aspect  (6)
    BCE(objectness, IoU) over all predictions; IoU is 0 where not positive                (7)
    BCE(classes, one-hot) over positives                                                  (8)
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import one_hot

RATIO = 3.5
TOP = 10
BOX_WEIGHT = 5.0
TINY = 1e-7


class Truth(NamedTuple):
    """The boxes of a batch; see the file's docstring."""

    boxes: Tensor
    classes: Tensor
    image: Tensor


class Candidates(NamedTuple):
    """Pairs of a box and a prediction that may answer for it, over all levels.

    box (M,) int64, the box's number       place (M,) int64, the prediction's number in the batch
    raw (M, E)                             predicted (M, 4) float32, decoded, as boxes
    """

    box: Tensor
    place: Tensor
    raw: Tensor
    predicted: Tensor


def losses(
    raw: Sequence[Tensor], truth: Truth, anchors: Tensor, strides: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """(6), (7), (8) before their weights; anchors (L, A, 2) in pixels."""
    rows = [level_rows(level, anchors.shape[1]) for level in raw]
    objectness = torch.cat([level[..., 4].reshape(-1) for level in rows])
    found = candidates(rows, truth, anchors, strides)
    with torch.no_grad():
        chosen = assign(found, truth)
    found = Candidates(*(array[chosen] for array in found))
    count = max(len(chosen), 1)
    overlap, ciou = ious(found.predicted, truth.boxes[found.box])
    target = torch.zeros_like(objectness)
    target[found.place] = overlap.detach().clamp(min=0)
    classes = one_hot(truth.classes[found.box], found.raw.shape[1] - 5).to(found.raw.dtype)
    return (
        (1 - ciou).sum() / count,
        bce(objectness, target, reduction="sum") / count,
        bce(found.raw[:, 5:], classes, reduction="sum") / count,
    )


def level_rows(level: Tensor, anchors: int) -> Tensor:
    """(N, A*E, H, W) -> (N, A, H, W, E)."""
    n, channels, height, width = level.shape
    return level.view(n, anchors, channels // anchors, height, width).permute(0, 1, 3, 4, 2)


def candidates(
    rows: Sequence[Tensor], truth: Truth, anchors: Tensor, strides: Sequence[int]
) -> Candidates:
    """(1) and (2)."""
    parts = []
    first = 0
    for level, level_anchors, stride in zip(rows, anchors, strides):
        n, count, height, width, _ = level.shape
        ratio = truth.boxes[:, None, 2:] / level_anchors
        fits = torch.maximum(ratio, 1 / ratio).amax(2) < RATIO  # (2)
        box, anchor = fits.nonzero(as_tuple=True)
        cell = reachable(truth.boxes[box, :2] / stride)  # (M, 3, 2)
        box, anchor = (array[:, None].expand(-1, 3).reshape(-1) for array in (box, anchor))
        cell = cell.reshape(-1, 2)
        x, y = cell[:, 0], cell[:, 1]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        box, anchor, x, y = box[inside], anchor[inside], x[inside], y[inside]
        image = truth.image[box]
        raw = level[image, anchor, y, x]
        p = raw[:, :4].sigmoid()
        centre = (2 * p[:, :2] - 0.5 + torch.stack((x, y), 1)) * stride
        size = (2 * p[:, 2:]) ** 2 * level_anchors[anchor]
        place = first + ((image * count + anchor) * height + y) * width + x
        parts.append(Candidates(box, place, raw, torch.cat((centre, size), 1)))
        first += n * count * height * width
    return Candidates(*(torch.cat(arrays) for arrays in zip(*parts)))


def reachable(centre: Tensor) -> Tensor:
    """(1): three cells (M, 3, 2) for centres (M, 2), both in cells."""
    cell = centre.floor()
    step = torch.where(centre - cell < 0.5, -1.0, 1.0)
    aside = cell + step * torch.tensor([1.0, 0.0])
    above = cell + step * torch.tensor([0.0, 1.0])
    return torch.stack((cell, aside, above), 1).long()


def assign(found: Candidates, truth: Truth) -> Tensor:
    """(3) to (5): the numbers of the candidates that are positive."""
    overlap, _ = ious(found.predicted, truth.boxes[found.box])
    overlap = overlap.clamp(min=0)
    score = (found.raw[:, 5:].sigmoid() * found.raw[:, 4:5].sigmoid()).sqrt()
    wanted = one_hot(truth.classes[found.box], score.shape[1]).to(score.dtype)
    cost = torch.nn.functional.binary_cross_entropy(score, wanted, reduction="none").sum(1)
    cost = cost - 3 * (overlap + 1e-8).log()  # (3)
    count = len(truth.boxes)
    best = rank(found.box, -overlap) < TOP
    total = torch.zeros(count).index_add(0, found.box[best], overlap[best])
    k = total.long().clamp(min=1)  # (4)
    positive = rank(found.box, cost) < k[found.box]
    chosen = positive.nonzero()[:, 0]
    return chosen[rank(found.place[chosen], cost[chosen]) == 0]  # (5)


def rank(group: Tensor, value: Tensor) -> Tensor:
    """The place of each value within its group, 0 for the smallest; ties by order."""
    order = torch.argsort(value, stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    grouped = group[order]
    start = torch.searchsorted(grouped, grouped, right=False)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order)) - start
    return ranks


def ious(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and CIoU (6) of boxes (M, 4) in pairs, centre and size."""
    (a1, a2), (b1, b2) = corners(a), corners(b)
    inter = (torch.minimum(a2, b2) - torch.maximum(a1, b1)).clamp(min=0).prod(1)
    union = a[:, 2:].prod(1) + b[:, 2:].prod(1) - inter
    iou = inter / (union + TINY)
    around = torch.maximum(a2, b2) - torch.minimum(a1, b1)
    distance = ((a[:, :2] - b[:, :2]) ** 2).sum(1) / ((around**2).sum(1) + TINY)
    angles = torch.atan(a[:, 2] / (a[:, 3] + TINY)) - torch.atan(b[:, 2] / (b[:, 3] + TINY))
    aspect = 4 / math.pi**2 * angles**2
    with torch.no_grad():
        weight = aspect / (1 - iou + aspect + TINY)
    return iou, iou - distance - weight * aspect


def corners(box: Tensor) -> tuple[Tensor, Tensor]:
    """Low and high corners of boxes (M, 4)."""
    return box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2
