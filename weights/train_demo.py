"""Train the demo: YOLOv7's topology at an eighth of its width on the scenes of scenes.py.

    python -m weights.scene_files train DATA
    python -m weights.train_demo DATA OUT

Runs on one thread of one CPU and starts again where it stopped: OUT/checkpoint.pt holds the
network, its running mean, the optimizer and the number of steps; all that is random in a step
comes from default_rng with the seed and the step. So a run that was cut off ends in the same
weights as one that was not.

    rounds          first on the images as they are, then enlarged to the size that the network
                    will be asked at: small objects gain (Touvron et al. 2019, arXiv 1906.06423)
    learning rate   per round linear over WARM_UP steps to its rate, then half a cosine down to a
                    hundredth of it (Loshchilov and Hutter 2017, arXiv 1608.03983)
    optimizer       AdamW (arXiv 1711.05101), betas (0.9, 0.99), decay 0.02 on kernels
    running mean    ema = d * ema + (1 - d) * net,  d = 0.999 * (1 - exp(-step / 500)); it is what
                    is exported. Batch norm statistics are averaged with the rest.
    batches         demo_batches.py
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from refquant.graph.architecture import ARCHITECTURES, STRIDES, Architecture

from .demo_ap import average_precision
from .demo_batches import Data, box_sizes_to_anchors
from .demo_loss import BOX_WEIGHT, losses
from .scenes import NAMES
from .torch_net import Network, network


class Round(NamedTuple):
    """So many images of so many pixels a side, from so high a learning rate down."""

    side: int
    images: int
    rate: float

    @property
    def steps(self) -> int:
        return self.images // BATCH


WIDTH = 0.125
BATCH = 16
ROUNDS = (Round(160, 128_000, 2e-3), Round(192, 16_000, 5e-4))
INPUT = ROUNDS[-1].side
WARM_UP = 300
DECAY = 0.02
SAVE_EVERY = 250  # steps
LOG_EVERY = 50
MEASURE_EVERY = 1500


def demo_architecture(data: Data) -> Architecture:
    """YOLOv7's table with the anchors of the training boxes."""
    sizes = data.boxes[:, 2:] - data.boxes[:, :2]
    return ARCHITECTURES["yolov7"]._replace(anchors=box_sizes_to_anchors(sizes))


def schedule(rounds: Sequence[Round], step: int) -> tuple[int, float]:
    """The side of the images and the learning rate of a step."""
    one = rounds[0]
    for one in rounds:
        if step < one.steps:
            break
        step -= one.steps
    if step < WARM_UP:
        return one.side, one.rate * (step + 1) / WARM_UP
    done = (step - WARM_UP) / max(1, one.steps - WARM_UP)
    cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    return one.side, one.rate * cosine


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
    steps = sum(one.steps for one in args.rounds)
    checkpoint = args.out / "checkpoint.pt"
    step = load(checkpoint, net, ema, optimizer) if checkpoint.exists() else 0
    forget_after(args.out / "curve.jsonl", step)
    sums = torch.zeros(3)
    while step < steps:
        side, rate = schedule(args.rounds, step)
        x, truth = data.batch(args.seed, step, BATCH, side)
        for group in optimizer.param_groups:
            group["lr"] = rate
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
            ap = average_precision(ema, architecture.anchors, args.validation, side)
            note(args.out, step, {"AP": ap[0], "AP50": ap[1], "side": side})


def forget_after(curve: Path, step: int) -> None:
    """Drop the lines of steps that will be taken again."""
    lines = curve.read_text(encoding="utf-8").splitlines() if curve.exists() else []
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    curve.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


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
        "rounds": [list(one) for one in args.rounds],
        "batch": BATCH,
        "torch": str(torch.__version__),
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
    parser.add_argument(
        "--round",
        nargs=3,
        action="append",
        metavar=("SIDE", "IMAGES", "RATE"),
        help="instead of ROUNDS, each given once",
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    given = [Round(int(side), int(images), float(rate)) for side, images, rate in args.round or ()]
    args.rounds = given or ROUNDS
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    args.out.mkdir(parents=True, exist_ok=True)
    train(args)


if __name__ == "__main__":
    main()
