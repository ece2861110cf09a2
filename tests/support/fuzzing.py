"""Fuzzing the readers: seeded mutations of good files, and what must never happen.

    run(target, runs, seed, folder, first=0) -> Report of the executions first ... first + runs - 1

A target has small good files (made by the tests' own writers), a way to change them, and a reader.
A file is changed at one to eight places: bits, bytes, numbers of interest, stretches cut out,
doubled, or taken from another file. Where a checksum would give every change away, the change is
made inside and the checksum made to fit. Each execution must end with a model or with BadInput, of
one line, within TIME_LIMIT seconds of processor time, and the process's peak of memory may not
grow by more than MEMORY_LIMIT and twice the file (images: what its pixels may take).

Python's audit hook sees the rest: while a reader runs, any opening of another file, any socket,
process, import, compilation or execution of code is an offence. It does not see what C libraries
do by themselves (HDF5's own files; that is tested with crafted links in test_hdf5_hostile.py).

A million executions are wanted, so what is done around the reader is cheap: Python's own random
numbers, files of a few hundred bytes, in a folder in memory.
"""

import contextlib
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refquant.arrays.errors import BadInput

TIME_LIMIT = 2.0  # seconds of processor time per execution: other work does not count
KILLED_AFTER = 60.0  # the same, after which the process is killed: its report says that it crashed
MEMORY_LIMIT = 2**26  # bytes, besides Target.memory
NUMBERS = [0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]
NUMBERS += [2**62, 2**63 - 1, 2**63, 2**64 - 1]
OFFENCES = frozenset(
    (
        *("import", "exec", "compile", "os.system", "os.exec", "os.fork", "os.posix_spawn"),
        *("subprocess.Popen", "ctypes.dlopen", "pickle.find_class", "os.remove", "os.rename"),
        *("os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "shutil.rmtree"),
    )
)
DIGITS = re.compile(rb"[0-9]+")
PARTICULAR = re.compile(r"'[^']*'|[\d.,]+")  # of a message: names and numbers
LONGEST_KIND, MOST_KINDS = 40, 10_000
TIMES = (1, 1, 1, 2, 2, 3, 5, 8)  # changes: few, so that a reader comes far; sometimes many
SHOWN = 5  # failures kept with their input


@dataclass
class Target:
    """What is fuzzed: read(path) of a file with this suffix; pack makes a file of a mutated seed.

    beside    files that lie beside it, by suffix
    memory    bytes that the peak may grow per byte of the file, besides MEMORY_LIMIT
    harmless  events that are none of OFFENCES here
    """

    name: str
    suffix: str
    seeds: list[bytes]
    read: Callable[[Path], Any]
    pack: Callable[[bytes], bytes] = bytes
    beside: dict[str, bytes] = field(default_factory=dict)
    memory: int = 2
    harmless: tuple[str, ...] = ()


@dataclass
class Report:
    """What came out; failures are (what, the input in hexadecimal digits)."""

    target: str
    runs: int = 0
    read: int = 0
    refused: int = 0
    slowest: float = 0.0  # seconds of processor time
    seconds: float = 0.0  # of processor time, in all
    memory: int = 0  # bytes by which the process's peak grew
    failures: list[tuple[str, str]] = field(default_factory=list)
    messages: Counter = field(default_factory=Counter)

    def add(self, other: "Report") -> None:
        """Further executions of the same target, in the same process."""
        for name in ("runs", "read", "refused", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("slowest", "memory"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.failures = (self.failures + other.failures)[:SHOWN]
        self.messages.update(other.messages)


class Watch:
    """The audit hook; there is one per process, since hooks cannot be taken off."""

    def __init__(self) -> None:
        self.armed = False
        # Python 3.14 looks for the text of a syntax error, in NumPy's headers, under this name.
        self.no_file = "<string>"
        self.allowed: set[str] = set()
        self.harmless: tuple[str, ...] = ()
        self.offences: list[str] = []
        self.baseline = 0  # bytes: the peak of memory before the first execution
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event == "open" and str(arguments[0]) not in {*self.allowed, self.no_file}:
            self.offences.append(f"open {arguments[0]!r:.100}")
        elif event.startswith(("socket.", "urllib.", "http.")) or (
            event in OFFENCES and event not in self.harmless
        ):
            self.offences.append(f"{event} {arguments!r:.100}")


_watches: list[Watch] = []


def watch() -> Watch:
    if not _watches:
        _watches.append(Watch())
    return _watches[0]


def mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    """One of the seeds, changed."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice(TIMES)):
        if not data:
            break
        rng.choice(CHANGES)(rng, data, seeds)
    return bytes(data)


def bit(rng: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def byte(rng: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def number(rng: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    """A number of interest, in 1 to 8 bytes of either order."""
    size = 1 << rng.randrange(4)
    value = rng.choice(NUMBERS) % 2 ** (8 * size)
    place = rng.randrange(len(data))
    order = "little" if rng.randrange(4) else "big"
    data[place : place + size] = value.to_bytes(size, order)


def digits(rng: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    """A number of interest in place of a stretch of digits, for texts."""
    place = rng.randrange(len(data))
    found = DIGITS.search(data, place)
    start, end = found.span() if found else (len(data), len(data))
    sign = b"-" if rng.randrange(3) == 0 else b""
    data[start:end] = sign + str(rng.choice(NUMBERS)).encode()


def stretch(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, start + int(2 ** rng.uniform(0, 10))


def cut(rng: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    start, end = stretch(rng, data)
    del data[start:end]


def truncate(rng: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    if rng.randrange(4) == 0:
        del data[rng.randrange(len(data)) :]


def double(rng: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    start, end = stretch(rng, data)
    data[start:start] = data[start:end]


def splice(rng: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    other = rng.choice(seeds)
    start, end = stretch(rng, other)
    place = rng.randrange(len(data))
    data[place : place + end - start] = other[start:end]


CHANGES = (bit, byte, number, number, digits, cut, truncate, double, splice)


def run(target: Target, runs: int, seed: int, folder: Path, first: int = 0) -> Report:
    """Fuzz a target. Execution i of a seed is always the same, whatever was run before it."""
    report, seen = Report(target.name), watch()
    path = folder / f"fuzzed{target.suffix}"
    for suffix, content in target.beside.items():
        path.with_suffix(suffix).write_bytes(content)
    seen.allowed = {str(path), *(str(path.with_suffix(suffix)) for suffix in target.beside)}
    for data in target.seeds:  # so that what is imported on demand is there
        path.write_bytes(target.pack(data))
        with contextlib.suppress(BadInput):
            target.read(path)
    seen.harmless = target.harmless
    seen.baseline = peak() if first == 0 else seen.baseline
    begin = time.process_time()
    for i in range(first, first + runs):
        data = target.pack(mutated(random.Random((seed << 40) + i), target.seeds))
        with open(path, "wb", buffering=0) as file:
            file.write(data)
        execute(target, path, data, report, seen)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    report.seconds = time.process_time() - begin
    report.memory = peak() - seen.baseline
    return report


def peak() -> int:
    """The most memory that the process has had so far, in bytes.

    Linux's VmHWM, in KiB: ru_maxrss begins with what the parent had when it started the process.
    """
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def execute(target: Target, path: Path, data: bytes, report: Report, seen: Watch) -> None:
    """One execution, judged."""
    signal.setitimer(signal.ITIMER_VIRTUAL, KILLED_AFTER)
    start, problem = time.process_time(), ""
    seen.offences, seen.armed = [], True
    try:
        target.read(path)
        report.read += 1
    except BadInput as error:
        report.refused += 1
        message = str(error)
        problem = "a message of several lines" if "\n" in message else ""
        count(report.messages, kind_of(message, str(path)))
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"[:200]
    finally:
        seen.armed = False
    seconds, grown = time.process_time() - start, peak() - seen.baseline
    report.runs += 1
    report.slowest = max(report.slowest, seconds)
    problem = problem or "; ".join(seen.offences[:3])
    if seconds > TIME_LIMIT:
        problem = problem or f"{seconds:.1f} seconds"
    if grown > MEMORY_LIMIT + target.memory * len(data):
        problem = problem or f"{grown} bytes of memory"
    if problem and len(report.failures) < SHOWN:
        report.failures.append((problem, data.hex()))


def count(messages: Counter, kind: str) -> None:
    """Count a kind of message, unless there are too many already."""
    if kind in messages or len(messages) < MOST_KINDS:
        messages[kind] += 1


def kind_of(message: str, path: str) -> str:
    """A message without names and numbers, to count kinds by."""
    return PARTICULAR.sub("#", message.replace(path, "")[: 2 * LONGEST_KIND])[:LONGEST_KIND]
