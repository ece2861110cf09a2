"""The work on one image as a task that any executor can run, here or on another machine.

    jobs_of(dataset, protocol, stride)          one Job per image
    Task(model, ...)(job) -> Outcome            the only thing that travels back
    outcomes(task, jobs, executor)              the outcomes, in the order in which they are done

An Outcome depends on its Job and Task alone, never on who ran it, when, or beside what.

A Task is pickled with every job, so it must be small. `shared` therefore writes the model, ready
to run, into a file that each worker process maps into memory, once, read-only: workers of one
machine share the pages. That file is a pickle that this process makes for its own workers, in a
folder that only this user may enter, and deletes; nobody else's is ever opened.
"""

import os
import pickle
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ThreadPoolExecutor,
    as_completed,
)
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from refquant.arrays.errors import BadInput
from refquant.detection.batch_shapes import batch_nets
from refquant.detection.coco_json import Picture
from refquant.detection.dataset import DataSet
from refquant.detection.image import image_size, read_image
from refquant.detection.letterbox import Size
from refquant.detection.predict import Protocol, forward, predict
from refquant.detection.results_json import Result, results_of
from refquant.engine.plan import can_plan
from refquant.graph.graph import Model

ALIGNMENT = 64  # bytes, a cache line, on which the kernels count


class Job(NamedTuple):
    """An image, and the size of its batch's input; None where it goes by the image alone."""

    image: Picture
    net: Size | None


class Outcome(NamedTuple):
    """What became of a job: COCO results, or a line that says why there are none."""

    image_id: int
    file_bytes: int
    results: list[Result]
    error: str = ""


@dataclass(frozen=True)
class SharedModel:
    """A model in a file; it travels as the file's path."""

    path: Path

    @property
    def model(self) -> Model:
        return open_shared(self.path)


@dataclass(frozen=True)
class Task:
    """Everything but the job; `ids` gives the category of each class, None to drop it."""

    model: Model | SharedModel = field(repr=False)
    folder: Path
    protocol: Protocol
    ids: tuple[int | None, ...]
    threads: int = 1
    arithmetic: str = "fast"

    def __call__(self, job: Job) -> Outcome:
        model = self.model.model if isinstance(self.model, SharedModel) else self.model
        path = self.folder / job.image.file_name
        try:
            pixels = read_image(path)
            check_size(path, (pixels.shape[0], pixels.shape[1]), job.image)
            found = predict(
                model,
                pixels,
                self.protocol,
                net=job.net,
                threads=self.threads,
                arithmetic=self.arithmetic,
            )
        except BadInput as error:
            return Outcome(job.image.id, file_bytes(path), [], str(error))
        return Outcome(job.image.id, file_bytes(path), results_of(job.image, found, self.ids))


def jobs_of(dataset: DataSet, protocol: Protocol, stride: int) -> list[Job]:
    """A job for every image; jobs with the same input follow each other, which saves memory."""
    if not protocol.batch:
        return [Job(image, None) for image in dataset.images]
    sizes = {image: size_of(dataset.folder, image) for image in dataset.images}
    known = {image: size for image, size in sizes.items() if size is not None}
    nets = batch_nets(list(known.values()), protocol.size, stride, protocol.batch)
    placed = dict(zip(known, nets, strict=True))
    jobs = [Job(image, placed.get(image)) for image in dataset.images]
    return sorted(jobs, key=lambda job: (job.net or (0, 0), job.image.id))


def size_of(folder: Path, image: Picture) -> Size | None:
    """The annotated (height, width), or that of the file's header; None if it cannot be read."""
    if image.height is not None and image.width is not None:
        return image.height, image.width
    try:
        return image_size(folder / image.file_name)
    except BadInput:
        return None  # its task will say why


def check_size(path: Path, size: Size, image: Picture) -> None:
    """An image must be as large as its annotations say, or its boxes would not fit."""
    height, width = size
    if (image.width or width, image.height or height) != (width, height):
        raise BadInput(
            path,
            f"is {width}x{height}, the annotations say {image.width or '?'}x{image.height or '?'}",
            "its boxes would not fit",
        )


def file_bytes(path: Path) -> int:
    """The size of a file in bytes, -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def outcomes(task: Task, jobs: Sequence[Job], executor: Executor | None) -> Iterable[Outcome]:
    """What became of each job, as soon as it is known; any error cancels the other jobs."""
    if executor is None:
        yield from map(task, jobs)
        return
    futures: list[Future[Outcome]] = []
    try:
        for job in jobs:
            futures.append(executor.submit(task, job))
        for future in as_completed(futures):
            yield future.result()
    except BrokenExecutor as error:
        raise BadInput(
            "workers", "one of them died (out of memory?)", "start again with fewer workers"
        ) from error
    finally:
        for future in futures:
            future.cancel()


@contextmanager
def shared(
    model: Model, executor: Executor | None, scratch: str | os.PathLike[str] | None = None
) -> Iterator[Model | SharedModel]:
    """The model as the workers need it: itself for threads of this process, otherwise a file.

    scratch    a folder for that file which every worker can read; by default the system's
    """
    if executor is None or isinstance(executor, ThreadPoolExecutor):
        yield model
        return
    with tempfile.TemporaryDirectory(
        prefix="refquant-", dir=scratch, ignore_cleanup_errors=True
    ) as folder:
        path = Path(folder).resolve() / "model"
        write_shared(model, path)
        compile_kernels(model)
        yield SharedModel(path)


def compile_kernels(model: Model) -> None:
    """Run a small image, so that the workers here find the kernels compiled by this process."""
    side = 2 * model.stride
    forward(model, np.zeros((1, 3, side, side), np.float32))


def write_shared(model: Model, path: Path) -> None:
    """Write the model, with its weights as the kernels read them, as one file.

    The file has the length of the index in 8 bytes, the index, and the arrays, each of which
    begins at a multiple of ALIGNMENT.
    """
    from refquant.engine.engine import prepared

    ready = prepared(model) if can_plan(model) else model
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(ready, protocol=5, buffer_callback=buffers.append)
    sizes = [buffer.raw().nbytes for buffer in buffers]
    index = pickle.dumps((content, sizes))
    with path.open("wb") as stream:
        stream.write(len(index).to_bytes(8, "little") + index)
        for buffer in buffers:
            stream.write(bytes(-stream.tell() % ALIGNMENT))
            stream.write(buffer.raw())


@lru_cache(maxsize=2)  # a long-lived worker meets one model after the other
def open_shared(path: Path) -> Model:
    """The model in the file; its arrays are views of the file, mapped into memory."""
    mapped = memoryview(np.memmap(path, np.uint8, "r"))  # type: ignore[arg-type]
    end = 8 + int.from_bytes(mapped[:8], "little")
    content, sizes = pickle.loads(mapped[8:end])
    buffers = []
    for size in sizes:
        start = end + -end % ALIGNMENT
        end = start + size
        buffers.append(mapped[start:end])
    model: Model = pickle.loads(content, buffers=buffers)
    return model
