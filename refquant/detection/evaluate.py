"""Average precision of a model on a data set: every image once, whoever computes it, then scored.

    jobs_of(dataset, protocol) -> one job per image                       tasks.py    (1)
    Task(job) -> Outcome: results, or why there are none                  tasks.py    (2)
    what is done is written down, and not done again                      run_log.py  (3)
    score(dataset, results) -> CocoStats                                  score.py    (4)
    evaluate = (1), (2), (3), (4)

(2) is the work and may be spread over any executor; (4) puts everything into one order. So the
order of images, threads, workers, interruptions and resumptions change nothing, not one byte.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace

from refquant.arrays.errors import BadInput
from refquant.detection.dataset import DataSet, match_classes
from refquant.detection.predict import PROTOCOLS, Protocol
from refquant.detection.run_log import header_of, open_log
from refquant.detection.score import CocoStats, score
from refquant.detection.tasks import Job, Outcome, Task, file_bytes, jobs_of, outcomes, shared
from refquant.engine.walk import check_way
from refquant.graph.graph import Model

Progress = Callable[[int, int], None]


def evaluate(
    model: Model,
    dataset: DataSet,
    *,
    protocol: str = "square",
    size: int | None = None,
    conf: float = 0.001,
    iou: float = 0.65,
    nms: str | None = None,
    max_detections: int = 300,
    batch: int | None = None,
    threads: int = 1,
    arithmetic: str = "fast",
    executor: Executor | None = None,
    scratch: str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> CocoStats:
    """AP of a model on a data set; options as in Protocol, None for the protocol's own.

    size       by default the model's own (`Model.input_size`)
    threads    of one forward pass, in whatever process it runs
    executor   any of concurrent.futures, Dask, MPI ...; without one the images run one by one here
    scratch    a folder that the executor's workers can read, for the model (default: a temporary)
    log        a file that keeps what is done: the same call goes on where the last one ended
    progress   is called with (images done, images in all): at the start, then after every image
    """
    check_way(arithmetic, threads)  # or else every image would fail for it
    side = model.input_size if size is None else size
    rules = protocol_of(protocol, side, conf, iou, nms, max_detections, batch)
    jobs = jobs_of(dataset, rules, model.stride)
    task = Task(model, dataset.folder, rules, match_classes(model.class_names, dataset))
    task = replace(task, threads=threads, arithmetic=arithmetic)
    done = run_all(model, task, jobs, executor, scratch, log, progress)
    failed = [
        {"image": job.image.file_name, "error": done[job.image.id].error}
        for job in sorted(jobs, key=lambda job: job.image.id)
        if done[job.image.id].error
    ]
    return score(dataset, (r for outcome in done.values() for r in outcome.results), failed)


def protocol_of(
    name: str,
    size: int,
    conf: float,
    iou: float,
    nms: str | None,
    most: int,
    batch: int | None,
) -> Protocol:
    """The named protocol with these choices instead of its own."""
    rules = replace(PROTOCOLS[name], size=size, conf=conf, iou=iou, most=most)
    if batch is not None and not rules.batch:
        raise BadInput(f"batch={batch}", f"protocol {name} has no batches", "leave it out")
    if batch is not None and batch < 1:
        raise BadInput(f"batch={batch}", "choose 1 or more")
    return replace(rules, nms=nms or rules.nms, batch=batch or rules.batch)


def run_all(
    model: Model,
    task: Task,
    jobs: Sequence[Job],
    executor: Executor | None,
    scratch: str | os.PathLike[str] | None,
    log: str | os.PathLike[str] | None,
    progress: Progress | None,
) -> Mapping[int, Outcome]:
    """What became of every image, by image id."""
    opened = open_log(log, header_of(model, task, jobs)) if log is not None else nullcontext()
    with opened as book:
        done = still_valid(task, jobs, book.known) if book else {}
        todo = [job for job in jobs if job.image.id not in done]
        if progress:
            progress(len(done), len(jobs))
        with shared(model, executor if todo else None, scratch) as ready:
            for outcome in computed(replace(task, model=ready), todo, executor):
                done[outcome.image_id] = outcome
                if book and not outcome.error:
                    book.add(outcome)
                if progress:
                    progress(len(done), len(jobs))
    return done


def still_valid(
    task: Task, jobs: Iterable[Job], known: Mapping[int, Outcome]
) -> dict[int, Outcome]:
    """What the log knows of these jobs' images, as long as their files have the same size."""
    return {
        image.id: known[image.id]
        for image, _ in jobs
        if image.id in known
        and known[image.id].file_bytes == file_bytes(task.folder / image.file_name)
    }


def computed(task: Task, jobs: Sequence[Job], executor: Executor | None) -> Iterable[Outcome]:
    """The outcomes of the jobs; a worker that cannot see the model's file is told in one line."""
    try:
        yield from outcomes(task, jobs, executor)
    except FileNotFoundError as error:
        raise BadInput(
            error.filename or "the model's file",
            "a worker does not see it",
            "choose a scratch folder that all workers share",
        ) from error
