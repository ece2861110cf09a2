"""How do the readers stand files of strangers? Seeded mutations by the million, one table.

    python -m bench.security.fuzz                         2,000 executions per reader
    python -m bench.security.fuzz --runs 1000000 --write  a night's work; fuzz.md grows with it
    python -m bench.security.fuzz --only ONNX --seed 3    one reader, other mutations

Each reader runs in a process of its own, so that a crash of a library is a line of the table: the
file that it was reading is left behind. What counts as a failure, fuzzing.py of the tests says.
Exit code 1 if there is any; the inputs of the first few are written to fuzz-failures.json.

--write puts a reader's line into fuzz.md again and again as it goes, in place of a line of
fewer executions, so that a run that is cut off is told as far as it came.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.project import use_helpers_of_tests
from refquant.arrays.atomic import atomic_path

use_helpers_of_tests()

if TYPE_CHECKING:
    from fuzzing import Report, Target

TABLE = Path(__file__).with_suffix(".md")
FAILURES = TABLE.with_name("fuzz-failures.json")
CHUNK = 10_000  # executions between two reports
TITLE = """# Fuzzing the readers

A line is one process of `python -m bench.security.fuzz --runs RUNS --seed SEED --only READER
--write`. Time is the processor's; a failure is what tests/support/fuzzing.py calls so.

"""
HEADER = (
    "| reader | seed | executions | read | refused | kinds of messages | slowest, CPU ms "
    "| per CPU second | peak grew by, MiB | failures |\n" + "|---" * 10 + "|\n"
)


@cache
def target(index: int) -> "Target":
    """Fuzz target number `index`, made once per process."""
    from fuzz_targets import TARGETS

    return TARGETS[index]()


def chunk(index: int, first: int, runs: int, seed: int, folder: str) -> "Report":
    """Some executions of a target, in this process."""
    from fuzzing import run

    return run(target(index), runs, seed, Path(folder), first)


def memory_folder() -> str | None:
    """A folder in memory, where there is one: each execution writes a file."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def fuzzed(index: int, runs: int, seed: int, write: bool) -> "Report":
    """All executions of a target, in a process of its own."""
    from fuzzing import Report

    name, context = target(index).name, multiprocessing.get_context("spawn")
    total = Report(name)
    with (
        tempfile.TemporaryDirectory(dir=memory_folder()) as folder,
        ProcessPoolExecutor(1, context) as pool,
    ):
        for first in range(0, runs, CHUNK):
            size = min(CHUNK, runs - first)
            try:
                total.add(pool.submit(chunk, index, first, size, seed, folder).result())
            except BrokenProcessPool:
                left = Path(folder, f"fuzzed{target(index).suffix}")
                total.failures.append(("the process crashed", left.read_bytes().hex()))
                break
            finally:
                if write:
                    put(line(total, seed), name, total.runs)
    return total


def line(report: "Report", seed: int) -> str:
    return (
        f"| {report.target} | {seed} | {report.runs:,} | {report.read:,} | {report.refused:,} "
        f"| {len(report.messages)} | {1000 * report.slowest:.0f} "
        f"| {report.runs / max(report.seconds, 1e-9):.0f} | {report.memory / 2**20:.0f} "
        f"| {len(report.failures)} |\n"
    )


def put(text: str, name: str, runs: int) -> None:
    """The reader's line into the table, in place of one of as many executions or fewer."""
    from fuzz_targets import TARGETS

    names = [target(index).name for index in range(len(TARGETS))]
    old = TABLE.read_text().splitlines(keepends=True) if TABLE.exists() else []
    lines = {row.split("|")[1].strip(): row for row in old if row.startswith("| ")}
    if int(lines.get(name, text).split("|")[3].replace(",", "")) <= runs:
        lines[name] = text
    rows = "".join(lines[name] for name in names if name in lines)
    with atomic_path(TABLE) as temporary:
        temporary.write_text(TITLE + HEADER + rows)


def main() -> int:
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="names of readers, in the order wanted")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    names = [target(index).name for index in range(len(TARGETS))]
    failures = []
    print(HEADER, end="", flush=True)
    for name in options.only or names:
        report = fuzzed(names.index(name), options.runs, options.seed, options.write)
        failures += [(name, *failure) for failure in report.failures]
        print(line(report, options.seed), end="", flush=True)
    for name, what, _ in failures:
        print(f"{name}: {what}", file=sys.stderr)
    if failures:
        FAILURES.write_text(json.dumps(failures, indent=1))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
