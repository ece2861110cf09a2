"""What an evaluation costs, per image and worker; what 100 of them cost on a cluster.

    python -m bench.speed.evaluate_cost IMAGES ANNOTATIONS MODEL ... [--count 16] [--write]

The first images are evaluated in this process and by two worker processes of one thread each, by
both protocols. Models of random weights ("random:yolov7") find nothing, by a confidence of 1, as
their boxes would be noise. Verified first: both give the same results. `--write` writes
evaluate_cost.md beside this file:

    core s per image   processor time of the process: reading, network, NMS; without the start
                       and without scoring; what else runs on the machine matters little      (1)
    start              core seconds of a worker beyond (1) times its images                   (2)
    private, shared    MB of a worker's memory that are its own, and that lie in the model's
                       file and in libraries, which workers share                             (3)
    scoring            core seconds of pycocotools per image                                  (4)
    hours = configurations / nodes * images * ((1) / cores of a node + (4)) / 3600            (5)

The last table has (5) for 5000 images and 100 configurations, with the dearer protocol and the
dearest scoring, on nodes of 16 cores that take one configuration at a time; a node scores on one
core.
"""

import argparse
import os
import time
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refquant.detection.dataset import DataSet, read_dataset
from refquant.detection.evaluate import evaluate
from refquant.detection.score import score
from refquant.detection.workers import process_pool
from refquant.formats.catalogue import load_model
from refquant.graph.graph import Model

PROTOCOLS = ("square", "yolov7")
WORKERS = 2
IMAGES, CONFIGURATIONS, CORES = 5000, 100, 16
MB = 1e6
RANDOM_CONF = 1.0
HEAD = """# What an evaluation costs

Written by `python -m bench.speed.evaluate_cost`; see its docstring.
{count} images, a thread per worker,
{machine}.

| model | protocol | core s per image | start, core s | private MB | shared MB | scoring s |
|---|---|---|---|---|---|---|
"""


class Worker(NamedTuple):
    """A worker's process id, its processor time in seconds, its memory in bytes."""

    pid: int
    seconds: float
    private: int
    shared: int


def look(_: int) -> Worker:
    """Called in a worker: what it has used so far."""
    time.sleep(0.2)  # so that the other workers get their share of these calls
    sizes = {"Private_Clean": 0, "Private_Dirty": 0, "Shared_Clean": 0, "Shared_Dirty": 0}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in sizes:
            sizes[name] = 1024 * int(rest.split()[0])
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    shared = sizes["Shared_Clean"] + sizes["Shared_Dirty"]
    return Worker(os.getpid(), time.process_time(), private, shared)


def look_at(executor: Executor) -> dict[int, Worker]:
    """Every worker, by process id."""
    return {worker.pid: worker for worker in executor.map(look, range(4 * WORKERS))}


def per_image_here(
    model: Model, dataset: DataSet, protocol: str, conf: float
) -> tuple[float, Any]:
    """(1) in this process, between the first image's end and the last one's; and the results."""
    moments: list[float] = []
    stats = evaluate(
        model,
        dataset,
        protocol=protocol,
        conf=conf,
        progress=lambda done, total: moments.append(time.process_time()),
    )
    return float(np.mean(np.diff(moments)[1:])), stats


def scoring(dataset: DataSet, results: Any) -> float:
    """(4)."""
    start = time.process_time()
    score(dataset, results)
    return (time.process_time() - start) / len(dataset.images)


def measured(name: str, dataset: DataSet, conf: float) -> tuple[list[str], float, float]:
    """The lines of one model, and the dearest of (1) and of (4)."""
    model = load_model(name)
    label = Path(name).name
    lines, costs = [], []
    for protocol in PROTOCOLS:
        evaluate(model, dataset.only({dataset.images[0].id}), protocol=protocol)  # compiles
        cost, here = per_image_here(model, dataset, protocol, conf)
        with process_pool(WORKERS) as executor:
            there = evaluate(model, dataset, protocol=protocol, conf=conf, executor=executor)
            assert there == here, "two workers gave other results than this process"
            workers = list(look_at(executor).values())
        total = sum(worker.seconds for worker in workers)
        start = (total - cost * len(dataset.images)) / len(workers)
        private = max(worker.private for worker in workers) / MB
        shared = max(worker.shared for worker in workers) / MB
        score_cost = scoring(dataset, here.results)
        costs.append((cost, score_cost))
        lines.append(
            f"| {label} | {protocol} | {cost:.2f} | {start:.1f} | {private:.0f} | {shared:.0f} "
            f"| {score_cost:.4f} |"
        )
    cost, score_cost = map(max, zip(*costs, strict=True))
    return lines, cost, score_cost


def hours(cost: float, score_cost: float, nodes: int) -> float:
    """(5)."""
    return CONFIGURATIONS / nodes * IMAGES * (cost / CORES + score_cost) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    from bench.speed.forward import machine

    dataset = read_dataset(options.images, options.annotations)
    dataset = dataset.only({image.id for image in dataset.images[: options.count]})
    found = {
        name: measured(name, dataset, RANDOM_CONF if name.startswith("random:") else 0.001)
        for name in options.models
    }
    # Of random weights nothing is found, so scoring counts as dear as the dearest model's.
    score_cost = max(scored for _, _, scored in found.values())
    text = f"{HEAD.format(count=options.count, machine=machine())}"
    text += "".join(f"{line}\n" for lines, _, _ in found.values() for line in lines)
    text += f"\n{IMAGES} images, {CONFIGURATIONS} configurations, nodes of {CORES} cores:\n\n"
    text += "| model | nodes | hours |\n|---|---|---|\n"
    for name, (_, cost, _) in found.items():
        for nodes in (1, 4, 16):
            text += f"| {Path(name).name} | {nodes} | {hours(cost, score_cost, nodes):.1f} |\n"
    print(text)
    if options.write:
        Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
