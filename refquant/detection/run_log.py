"""The log of an evaluation: what is done is on disk, so a run killed at any point can go on.

The log is a text file of JSON, one object per line. The first line says what it is the log of:
    {"format", "format_version", "refquant",
     "arithmetic", "precision", "model", "data", "protocol"}
arithmetic  the version of the definition of every bit
precision   "float32" or "float64"
model       SHA-256 of what the network computes with: nodes, attributes, decoded arrays
data        SHA-256 of the images' ids, names, sizes and inputs, and of the categories of classes
Everything that decides about a detection is in it, so a log with another first line is of
something else and is refused. Threads, workers and executors decide nothing and are not in it.
Every other line is an image that is done:
    {"image_id", "file_bytes", "results": [[category_id, score, x, y, width, height], ...]}
Numbers are written so that they are read back bit for bit. Images that failed are not written,
and the next run tries them again, as it does with an image whose file has another size by then.

A line is handed to the operating system as a whole before the next image begins, so it survives
the death of the process. The file is synced every SYNC_SECONDS and at the end, so a loss of power
costs the images of so many seconds. The log counts up to its first line that is not whole and
valid; what follows (a torn line, zeros after a crash of the machine) is cut off and computed
again. Only one process at a time may hold a log, by an advisory lock where the system has such.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from refquant._version import __version__
from refquant.arrays.errors import BadInput
from refquant.detection.results_json import Result
from refquant.detection.tasks import Job, Outcome, Task
from refquant.graph.graph import Model, array_of
from refquant.ops.catalogue import OPS

FORMAT = "refquant evaluation log"
FORMAT_VERSION = 1
SYNC_SECONDS = 5.0
NO_LOG = "is not the log of an evaluation"
REMEDY = "delete it to start afresh, or choose another file"


def header_of(model: Model, task: Task, jobs: Sequence[Job]) -> dict[str, Any]:
    """The first line of the log of these jobs."""
    from refquant.formats.hdf5.store import ARITHMETIC_VERSION

    images = sorted((*job.image, job.net) for job in jobs)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "refquant": __version__,
        "arithmetic": ARITHMETIC_VERSION,
        "precision": "float64" if task.arithmetic == "math" else "float32",
        "model": model_sha256(model),
        "data": hashlib.sha256(json.dumps([images, task.ids]).encode()).hexdigest(),
        "protocol": asdict(task.protocol),
    }


def model_sha256(model: Model) -> str:
    """SHA-256 of what decides about a model's outputs; the same however its weights are kept."""
    total = hashlib.sha256()
    for node in model.nodes:
        names = [name for name in OPS[node.op].arrays if name in node.arrays]
        attributes = sorted(node.attributes.items())
        total.update(json.dumps([node.name, node.op, node.inputs, attributes, names]).encode())
        for name in names:
            array = np.ascontiguousarray(array_of(node.arrays[name]))
            total.update(json.dumps([array.dtype.str, array.shape]).encode())
            total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


class RunLog:
    """An open log; `known` has the outcome of every image that is done, by image id."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.known: dict[int, Outcome] = {}
        try:
            self.file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise BadInput(path, f"cannot be written ({error.strerror})") from error
        try:
            lock(self.file, path)
            self.continue_from(path.read_bytes(), header)
        except BaseException:
            os.close(self.file)
            raise
        self.synced = time.monotonic()

    def continue_from(self, content: bytes, header: Mapping[str, Any]) -> None:
        """Take over the lines that count and cut off the rest; an empty log gets its header."""
        lines = content.splitlines(keepends=True)
        good = 0
        if lines and lines[0].endswith(b"\n"):
            check_header(self.path, lines[0], header)
            good = len(lines[0])
            for line in lines[1:]:
                outcome = outcome_of(line)
                if outcome is None:
                    break
                self.known[outcome.image_id] = outcome
                good += len(line)
        elif not begins_header(content, header):
            raise BadInput(self.path, NO_LOG, REMEDY)
        os.truncate(self.file, good)
        os.lseek(self.file, 0, os.SEEK_END)
        if good == 0:
            self.write(header)

    def add(self, outcome: Outcome) -> None:
        """Write down an image that is done."""
        rows = [[r["category_id"], r["score"], *r["bbox"]] for r in outcome.results]
        self.write(
            {"image_id": outcome.image_id, "file_bytes": outcome.file_bytes, "results": rows}
        )
        if time.monotonic() - self.synced > SYNC_SECONDS:
            self.sync()

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line, all of it."""
        line = memoryview(json.dumps(record).encode() + b"\n")
        try:
            while line:
                line = line[os.write(self.file, line) :]
        except OSError as error:
            raise BadInput(
                self.path,
                f"cannot be written ({error.strerror})",
                "make room; the same command then goes on from here",
            ) from error

    def sync(self) -> None:
        os.fsync(self.file)
        self.synced = time.monotonic()

    def close(self) -> None:
        try:
            self.sync()
        finally:
            os.close(self.file)


@contextmanager
def open_log(path: str | os.PathLike[str], header: Mapping[str, Any]) -> Iterator[RunLog]:
    """The log at `path`, begun or continued; a log of something else raises BadInput."""
    log = RunLog(Path(path), header)
    try:
        yield log
    finally:
        log.close()


def lock(file: int, path: Path) -> None:
    """Hold the file for this process alone; the lock ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BadInput(path, "another run is writing it", "wait for its end") from error
    except OSError:  # a file system without locks
        return


def check_header(path: Path, line: bytes, header: Mapping[str, Any]) -> None:
    """Refuse a log of something else, and a file that is no log."""
    found = decoded(line)
    if found is None or found.get("format") != FORMAT:
        raise BadInput(path, NO_LOG, REMEDY)
    expected = json.loads(json.dumps(header))
    other = [key for key in expected if found.get(key) != expected[key]]
    if other or set(found) != set(expected):
        what = ", ".join(other) or "its first line"
        raise BadInput(path, f"is the log of another run (differs in: {what})", REMEDY)


def begins_header(content: bytes, header: Mapping[str, Any]) -> bool:
    """Whether this run was cut off while it wrote its first line; zeros may follow."""
    return json.dumps(header).encode().startswith(content.rstrip(b"\0"))


def decoded(line: bytes) -> dict[str, Any] | None:
    """The JSON object that a whole line holds, or None."""
    try:
        value = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def outcome_of(line: bytes) -> Outcome | None:
    """The outcome that a line holds; None for a line that `add` does not write."""
    record = decoded(line) or {}
    image, size, rows = (record.get(key) for key in ("image_id", "file_bytes", "results"))
    if type(image) is not int or type(size) is not int or type(rows) is not list:
        return None
    if not all(type(row) is list and len(row) == 6 and numbers(row) for row in rows):
        return None
    results: list[Result] = [
        {"image_id": image, "category_id": category, "bbox": box, "score": points}
        for category, points, *box in rows
    ]
    return Outcome(image, size, results)


def numbers(row: Sequence[Any]) -> bool:
    """Whether a row begins with a whole number and goes on with finite ones."""
    return type(row[0]) is int and all(
        type(value) in (int, float) and abs(value) < float("inf") for value in row[1:]
    )
