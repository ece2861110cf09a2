"""Train the demo: YOLOv7's topology at an eighth of its width on the scenes of scenes.py.

    python -m weights.scene_files train DATA
    python -m weights.train_demo DATA OUT --images 150000

Runs on one thread of one CPU and starts again where it stopped: OUT/checkpoint.pt holds the
network, its running mean, the optimizer and the number of steps; all that is random in a step
comes from default_rng with the seed and the step. So a run that was cut
off ends in the same weights as one that was not.

    learning rate   linear over WARM_UP steps to `rate`, then half a cosine down to 0.01 * rate
                    (Loshchilov and Hutter 2017, arXiv 1608.03983)
    optimizer       AdamW (arXiv 1711.05101), betas (0.9, 0.99), decay 0.02 on kernels
    running mean    ema = d * ema + (1 - d) * net,  d = 0.999 * (1 - exp(-step / 500)); it is what
                    is exported. Batch norm statistics are averaged with the rest.
    augmentation    the eight turns and flips of the square, the six orders of the colour channels,
                    gain and offset: no class changes under them
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refquant.graph.architecture import ARCHITECTURES, STRIDES, Architecture

from .demo_ap import average_precision
from .demo_loss import BOX_WEIGHT, Truth, losses
from .scenes import NAMES, SIDE
from .torch_net import Network, network

WIDTH = 0.125
BATCH = 16
WARM_UP = 300
DECAY = 0.02
SAVE_EVERY = 250  # steps
LOG_EVERY = 50
MEASURE_EVERY = 1500


class Data:
    """The training set as scene_files.py wrote it."""

    def __init__(self, folder: Path) -> None:
        self.images = np.load(folder / "images.npy", mmap_mode="r")
        stored = np.load(folder / "boxes.npz")
        self.boxes, self.classes, owner = stored["boxes"], stored["classes"], stored["image"]
        self.first = np.searchsorted(owner, np.arange(len(self.images) + 1))

    def batch(self, seed: int, step: int) -> tuple[Tensor, Truth]:
        """The images (BATCH, 3, SIDE, SIDE) float32 of a step and what is in them."""
        start = step * BATCH
        epoch, count = start // len(self.images), len(self.images)
        numbers = np.concatenate(
            [np.random.default_rng((seed, 0, e)).permutation(count) for e in (epoch, epoch + 1)]
        )[start - epoch * count :][:BATCH]
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
        found = (torch.from_numpy(np.concatenate(part)) for part in (boxes, classes, owner))
        return x, Truth(*found)


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


def demo_architecture(data: Data) -> Architecture:
    """YOLOv7's table with the anchors of the training boxes."""
    sizes = data.boxes[:, 2:] - data.boxes[:, :2]
    return ARCHITECTURES["yolov7"]._replace(anchors=box_sizes_to_anchors(sizes))


def rate_at(step: int, steps: int, rate: float) -> float:
    """The learning rate of a step."""
    if step < WARM_UP:
        return rate * (step + 1) / WARM_UP
    done = (step - WARM_UP) / max(1, steps - WARM_UP)
    return rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1))))


def optimizer_of(net: Network) -> torch.optim.Optimizer:
    kernels = [p for p in net.parameters() if p.ndim == 4]
    others = [p for p in net.parameters() if p.ndim != 4]
    groups = [{"params": kernels, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.99))


def average(ema: Network, net: Network, step: int) -> None:
    """One step of the running mean."""
    d = 0.999 * (1 - math.exp(-(step + 1) / 500))
    theirs = net.state_dict()
    floats = [(v, theirs[k]) for k, v in ema.state_dict().items()]
    with torch.no_grad():
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - d)


def train(args: argparse.Namespace) -> None:
    data = Data(args.data)
    architecture = demo_architecture(data)
    net, ema = (
        # Channels last in memory: 68 images/s against 45 on one core of a Xeon (AVX-512).
        network(architecture, WIDTH, len(NAMES), args.seed).to(memory_format=torch.channels_last)
        for _ in range(2)
    )
    ema.eval().requires_grad_(False)
    optimizer = optimizer_of(net)
    anchors = torch.tensor(architecture.anchors, dtype=torch.float32)
    steps = args.images // BATCH
    checkpoint = args.out / "checkpoint.pt"
    step = load(checkpoint, net, ema, optimizer) if checkpoint.exists() else 0
    sums = torch.zeros(3)
    while step < steps:
        x, truth = data.batch(args.seed, step)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, args.rate)
        parts = losses(net(x), truth, anchors, STRIDES)
        optimizer.zero_grad()
        (BOX_WEIGHT * parts[0] + parts[1] + parts[2]).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        average(ema, net, step)
        sums += torch.stack([part.detach() for part in parts])
        step += 1
        if step % LOG_EVERY == 0:
            names = ("box", "objectness", "classes")
            note(args.out, step, dict(zip(names, (sums / LOG_EVERY).tolist())))
            sums.zero_()
        if step % SAVE_EVERY == 0 or step == steps:
            save(checkpoint, net, ema, optimizer, step, architecture, args)
        if step % MEASURE_EVERY == 0 or step == steps:
            ap = average_precision(ema, architecture.anchors, args.validation)
            note(args.out, step, {"AP": ap[0], "AP50": ap[1]})


def note(out: Path, step: int, values: dict[str, float]) -> None:
    """A line of the curve."""
    line = json.dumps({"step": step, **{key: round(v, 4) for key, v in values.items()}})
    with (out / "curve.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    print(line, flush=True)


def save(
    path: Path,
    net: Network,
    ema: Network,
    optimizer: torch.optim.Optimizer,
    step: int,
    architecture: Architecture,
    args: argparse.Namespace,
) -> None:
    """Everything that the next step needs, renamed into place when it is whole."""
    facts = {
        "seed": args.seed,
        "images": args.images,
        "rate": args.rate,
        "batch": BATCH,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    whole = {
        "step": step,
        "net": net.state_dict(),
        "ema": ema.state_dict(),
        "optimizer": optimizer.state_dict(),
        "anchors": architecture.anchors,
        "facts": facts,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(whole, temporary)
    temporary.replace(path)


def load(path: Path, net: Network, ema: Network, optimizer: torch.optim.Optimizer) -> int:
    """Take up a checkpoint; the number of steps done."""
    stored = torch.load(path, weights_only=True)
    net.load_state_dict(stored["net"])
    ema.load_state_dict(stored["ema"])
    optimizer.load_state_dict(stored["optimizer"])
    return int(stored["step"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo.")
    parser.add_argument("data", type=Path, help="the folder that scene_files wrote")
    parser.add_argument("out", type=Path, help="folder for checkpoint.pt and curve.jsonl")
    parser.add_argument("--validation", type=Path, default=Path(__file__).parent / "demo")
    parser.add_argument("--images", type=int, default=150_000, help="to train on, in all")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    args.out.mkdir(parents=True, exist_ok=True)
    train(args)


if __name__ == "__main__":
    main()
