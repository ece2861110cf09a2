"""What an evaluation costs, per image and worker; what 100 of them cost on a cluster.

    python bench/evaluate_cost.py MODEL IMAGES ANNOTATIONS [COUNT [CONF]]

For a model of random weights choose CONF 1: nothing is found, as its boxes would be noise. The
first COUNT images (default 16) are evaluated in this process and by two worker processes of
one thread each, by both protocols. Verified first: both give the same results. Printed:

    core s per image   processor time of the process: reading, network, NMS; without the start
                       and without scoring; what else runs on the machine matters little      (1)
    start              core seconds of a worker beyond (1) times its images                   (2)
    private, shared    MB of a worker's memory that are its own, and that lie in the model's
                       file and in libraries, which workers share                             (3)
    scoring            core seconds of pycocotools per image                                  (4)
    hours = configurations / nodes * images * ((1) / cores of a node + (4)) / 3600            (5)

The last table has (5) for 5000 images and 100 configurations, with the dearer protocol, on nodes
of 16 cores that take one configuration at a time; a node scores on one core.
"""

import os
import sys
import time
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refquant.detect.dataset import DataSet, read_dataset
from refquant.detect.evaluate import evaluate
from refquant.detect.score import score
from refquant.detect.workers import process_pool
from refquant.formats import load_model
from refquant.graph.graph import Model

PROTOCOLS = ("square", "yolov7")
WORKERS = 2
IMAGES, CONFIGURATIONS, CORES = 5000, 100, 16
MB = 1e6


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


def main(
    model_path: str, images: str, annotations: str, count: str = "16", conf: str = "0.001"
) -> None:
    dataset = read_dataset(images, annotations)
    dataset = dataset.only({image.id for image in dataset.images[: int(count)]})
    model = load_model(model_path)
    rows, costs = [], []
    for protocol in PROTOCOLS:
        evaluate(model, dataset.only({dataset.images[0].id}), protocol=protocol)  # compiles
        cost, here = per_image_here(model, dataset, protocol, float(conf))
        with process_pool(WORKERS) as executor:
            there = evaluate(
                model, dataset, protocol=protocol, conf=float(conf), executor=executor
            )
            assert there == here, "two workers gave other results than this process"
            workers = list(look_at(executor).values())
        total = sum(worker.seconds for worker in workers)
        start = (total - cost * len(dataset.images)) / len(workers)
        private = max(worker.private for worker in workers) / MB
        shared = max(worker.shared for worker in workers) / MB
        score_cost = scoring(dataset, here.results)
        costs.append((cost, score_cost))
        rows.append(
            f"| {protocol} | {cost:.3f} | {start:.1f} | {private:.0f} | {shared:.0f} "
            f"| {score_cost:.4f} |"
        )
    print(f"{Path(model_path).name}, {count} images, 1 thread, {os.uname().machine}\n")
    print("| protocol | core s per image | start, core s | private MB | shared MB | scoring s |")
    print("|---|---|---|---|---|---|")
    print("\n".join(rows))
    print(f"\n| nodes of {CORES} cores | hours |\n|---|---|")
    cost, score_cost = max(costs)
    for nodes in (1, 4, 16):
        hours = CONFIGURATIONS / nodes * IMAGES * (cost / CORES + score_cost) / 3600  # (5)
        print(f"| {nodes} | {hours:.1f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
