"""What the demo is trained on, step by step: which images, turned and coloured how.

    epoch e   the images in the order of default_rng((seed, 0, e)), then epoch e + 1
    step s    images s * size ... (s + 1) * size - 1 of that endless list, each changed by numbers
              of default_rng((seed, 1, s)): one of the eight turns and flips of the square, one of
              the six orders of the colour channels, gain and offset. No class changes under them.

A step's batch depends on the seed and the step alone, so a run can start again anywhere.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .demo_loss import Truth
from .scenes import SIDE


class Data:
    """The training set as scene_files.py wrote it."""

    def __init__(self, folder: Path) -> None:
        self.images = np.load(folder / "images.npy", mmap_mode="r")
        stored = np.load(folder / "boxes.npz")
        self.boxes, self.classes, owner = stored["boxes"], stored["classes"], stored["image"]
        self.first = np.searchsorted(owner, np.arange(len(self.images) + 1))

    def batch(self, seed: int, step: int, size: int, side: int) -> tuple[Tensor, Truth]:
        """The images (size, 3, side, side) float32 of a step and what is in them."""
        start = step * size
        epoch, count = start // len(self.images), len(self.images)
        numbers = np.concatenate(
            [np.random.default_rng((seed, 0, e)).permutation(count) for e in (epoch, epoch + 1)]
        )[start - epoch * count :][:size]
        rng = np.random.default_rng((seed, 1, step))
        images, boxes, classes, owner = [], [], [], []
        for k, number in enumerate(numbers):
            rows = slice(self.first[number], self.first[number + 1])
            image, box = turned(rng, self.images[number], self.boxes[rows])
            images.append(recoloured(rng, image))
            boxes.append(
                np.concatenate(((box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]), 1)
            )
            classes.append(self.classes[rows])
            owner.append(np.full(len(box), k))
        x = torch.from_numpy(np.stack(images)).to(memory_format=torch.channels_last)
        if side != SIDE:  # within one grey level of what letterbox.py does
            x = torch.nn.functional.interpolate(x, size=(side, side), mode="bilinear")
        found = (torch.from_numpy(np.concatenate(part)) for part in (boxes, classes, owner))
        truth = Truth(*found)
        return x, truth._replace(boxes=truth.boxes * (side / SIDE))


def turned(
    rng: np.random.Generator, image: NDArray[np.uint8], box: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One of the eight symmetries of the square: transpose, mirror, flip."""
    transpose, mirror, flip = rng.integers(0, 2, 3)
    x1, y1, x2, y2 = box.T
    if transpose:
        image = image.transpose(1, 0, 2)
        x1, y1, x2, y2 = y1, x1, y2, x2
    if mirror:
        image = image[:, ::-1]
        x1, x2 = SIDE - x2, SIDE - x1
    if flip:
        image = image[::-1]
        y1, y2 = SIDE - y2, SIDE - y1
    return image, np.stack((x1, y1, x2, y2), 1)


def recoloured(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Channels in another order, gain and offset; (3, SIDE, SIDE) float32 in [0, 1]."""
    planes = image.transpose(2, 0, 1)[rng.permutation(3)].astype(np.float32) / np.float32(255)
    gain, offset = rng.uniform(0.8, 1.2), rng.uniform(-0.08, 0.08)
    return np.clip(planes * np.float32(gain) + np.float32(offset), 0, 1)


def box_sizes_to_anchors(sizes: NDArray[Any], count: int = 9) -> tuple[Any, ...]:
    """k-means of (width, height) in log pixels, started at quantiles of the area; whole pixels."""
    logs = np.log(sizes)
    order = np.argsort(logs.sum(1), kind="stable")
    centres = logs[order[((np.arange(count) + 0.5) * len(order) / count).astype(int)]]
    for _ in range(50):
        nearest = ((logs[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.stack([logs[nearest == k].mean(0) for k in range(count)])
    centres = np.rint(np.exp(centres[np.argsort(centres.sum(1), kind="stable")])).astype(int)
    rows = [(int(w), int(h)) for w, h in centres]
    return tuple(tuple(rows[k : k + 3]) for k in range(0, count, 3))
