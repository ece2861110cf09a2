"""Fuzzing the readers: seeded mutations of good files, and what must never happen.

    run(target, runs, seed, folder) -> Report

A target has small good files (made by the tests' own writers), a way to change them, and a reader.
A file is changed at one to eight places: bits, bytes, numbers of interest, stretches cut out,
doubled, or taken from another file. Where a checksum would give every change away, the change is
made inside and the checksum made to fit. Each execution must end with a model or with BadInput, of
one line, within TIME_LIMIT seconds of processor time.

Python's audit hook sees the rest: while a reader runs, any opening of another file, any socket,
process, import, compilation or execution of code is an offence. It does not see what C libraries
do by themselves (HDF5's own files; that is tested with crafted links in test_hdf5_hostile.py).
"""

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from refquant.arrays.errors import BadInput

TIME_LIMIT = 2.0  # seconds of processor time per execution: other work does not count
NUMBERS = [0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]
NUMBERS += [2**62, 2**63 - 1, 2**63, 2**64 - 1]
OFFENCES = (
    *("import", "exec", "compile", "os.system", "os.exec", "os.fork", "os.posix_spawn"),
    *("subprocess.Popen", "ctypes.dlopen", "pickle.find_class", "os.remove", "os.rename"),
    *("os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "shutil.rmtree"),
)
SHOWN = 5  # failures kept with their input


@dataclass
class Target:
    """What is fuzzed: read(path) of a file with this suffix; pack makes a file of a mutated seed.

    beside    files that lie beside it, by suffix
    """

    name: str
    suffix: str
    seeds: list[bytes]
    read: Callable[[Path], Any]
    pack: Callable[[bytes], bytes] = bytes
    beside: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Report:
    """What came out; failures are (what, the input in hexadecimal digits)."""

    target: str
    runs: int = 0
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    memory: int = 0  # bytes by which the process's peak grew
    failures: list[tuple[str, str]] = field(default_factory=list)
    messages: Counter = field(default_factory=Counter)


class Watch:
    """The audit hook; there is one per process, since hooks cannot be taken off."""

    def __init__(self) -> None:
        self.armed = False
        self.allowed: set[str] = set()
        self.offences: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event == "open" and str(arguments[0]) not in self.allowed:
            self.offences.append(f"open {arguments[0]!r:.100}")
        elif event.startswith(("socket.", "urllib.", "http.")) or event in OFFENCES:
            self.offences.append(f"{event} {arguments!r:.100}")


_watches: list[Watch] = []


def watch() -> Watch:
    if not _watches:
        _watches.append(Watch())
    return _watches[0]


def mutated(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """One of the seeds, changed."""
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 9)):
        if not data:
            break
        CHANGES[rng.integers(len(CHANGES))](rng, data, seeds)
    return bytes(data)


def bit(rng: np.random.Generator, data: bytearray, seeds: list[bytes]) -> None:
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))


def byte(rng: np.random.Generator, data: bytearray, seeds: list[bytes]) -> None:
    data[rng.integers(len(data))] = int(rng.integers(256))


def number(rng: np.random.Generator, data: bytearray, seeds: list[bytes]) -> None:
    """A number of interest, in 1 to 8 bytes of either order."""
    size = int(2 ** rng.integers(4))
    value = NUMBERS[rng.integers(len(NUMBERS))] % 2 ** (8 * size)
    place = int(rng.integers(len(data)))
    order = "little" if rng.integers(4) else "big"
    data[place : place + size] = value.to_bytes(size, order)


def digits(rng: np.random.Generator, data: bytearray, seeds: list[bytes]) -> None:
    """A number of interest in place of a stretch of digits, for texts."""
    place = int(rng.integers(len(data)))
    while place < len(data) and not 48 <= data[place] < 58:
        place += 1
    end = place
    while end < len(data) and 48 <= data[end] < 58:
        end += 1
    sign = b"-" if rng.integers(3) == 0 else b""
    data[place:end] = sign + str(NUMBERS[rng.integers(len(NUMBERS))]).encode()


def stretch(rng: np.random.Generator, data: bytes) -> tuple[int, int]:
    start = int(rng.integers(len(data)))
    return start, start + int(2 ** rng.uniform(0, 10))


def cut(rng: np.random.Generator, data: bytearray, seeds: list[bytes]) -> None:
    start, end = stretch(rng, data)
    del data[start:end]


def truncate(rng: np.random.Generator, data: bytearray, seeds: list[bytes]) -> None:
    if rng.integers(4) == 0:
        del data[rng.integers(len(data)) :]


def double(rng: np.random.Generator, data: bytearray, seeds: list[bytes]) -> None:
    start, end = stretch(rng, data)
    data[start:start] = data[start:end]


def splice(rng: np.random.Generator, data: bytearray, seeds: list[bytes]) -> None:
    other = seeds[rng.integers(len(seeds))]
    start, end = stretch(rng, other)
    place = int(rng.integers(len(data)))
    data[place : place + end - start] = other[start:end]


CHANGES = (bit, byte, number, number, digits, cut, truncate, double, splice)


def run(target: Target, runs: int, seed: int, folder: Path) -> Report:
    """Fuzz a target. Run i of a seed is always the same, whatever was run before it."""
    report, seen = Report(target.name), watch()
    path = folder / f"fuzzed{target.suffix}"
    for suffix, content in target.beside.items():
        path.with_suffix(suffix).write_bytes(content)
    seen.allowed = {str(path), *(str(path.with_suffix(suffix)) for suffix in target.beside)}
    path.write_bytes(target.pack(target.seeds[0]))
    target.read(path)  # a good one, which also imports what is imported on demand
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    for i in range(runs):
        data = target.pack(mutated(np.random.default_rng((seed, i)), target.seeds))
        path.write_bytes(data)
        execute(target, path, data, report, seen)
    report.seconds = time.perf_counter() - begin
    report.memory = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return report


def execute(target: Target, path: Path, data: bytes, report: Report, seen: Watch) -> None:
    """One execution, judged."""
    start, problem = time.process_time(), ""
    seen.offences, seen.armed = [], True
    try:
        target.read(path)
        report.read += 1
    except BadInput as error:
        report.refused += 1
        report.messages[kind_of(str(error))] += 1
        problem = "a message of several lines" if "\n" in str(error) else ""
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"[:200]
    finally:
        seen.armed = False
    seconds = time.process_time() - start
    report.runs += 1
    report.slowest = max(report.slowest, seconds)
    problem = problem or "; ".join(seen.offences[:3])
    if seconds > TIME_LIMIT:
        problem = problem or f"{seconds:.1f} seconds"
    if problem and len(report.failures) < SHOWN:
        report.failures.append((problem, data.hex()))


def kind_of(message: str) -> str:
    """A message without its numbers, to count kinds by."""
    return "".join("#" if c.isdigit() else c for c in message.rsplit("/", 1)[-1])[:40]
