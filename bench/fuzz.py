"""How do the readers stand files of strangers? Seeded mutations by the thousand, one table.

    python bench/fuzz.py                         2,000 executions per reader
    python bench/fuzz.py --runs 1000000          a night's work
    python bench/fuzz.py --only ONNX --seed 3    one reader, other mutations
    python bench/fuzz.py --write                 and the table goes to bench/fuzz.md

Each reader runs in a process of its own, so that a crash of a library is a line of the table. What
counts as a failure, tests/fuzzing.py says. Exit code 1 if there is any; the inputs of the first
few are written to bench/fuzz-failures.json.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
TABLE = HERE / "fuzz.md"
HEADER = (
    "| reader | executions | read | refused | kinds of messages | slowest, CPU ms | per second "
    "| peak grew by, MiB | failures |\n|---|---|---|---|---|---|---|---|---|\n"
)


def one(index: int, runs: int, seed: int) -> dict[str, Any]:
    """Fuzz target number `index` in this process."""
    from fuzz_targets import TARGETS
    from fuzzing import run

    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        report = run(TARGETS[index](), runs, seed, Path(folder))
    return {**vars(report), "messages": len(report.messages)}


def memory_folder() -> str | None:
    """A folder in memory, where there is one: each execution writes a file."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def in_its_own_process(index: int, runs: int, seed: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, context) as pool:
            return pool.submit(one, index, runs, seed).result()
    except BrokenProcessPool:
        return {"failures": [("the process crashed", "")]}


def line(name: str, report: dict[str, Any]) -> str:
    if "runs" not in report:
        return f"| {name} | - | - | - | - | - | - | - | the process crashed |\n"
    return (
        f"| {report['target']} | {report['runs']:,} | {report['read']:,} | {report['refused']:,} "
        f"| {report['messages']} | {1000 * report['slowest']:.0f} "
        f"| {report['runs'] / report['seconds']:.0f} | {report['memory'] / 2**20:.0f} "
        f"| {len(report['failures'])} |\n"
    )


def main() -> int:
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="the name of one reader")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text, failures = HEADER, []
    print(HEADER, end="", flush=True)
    for index, make in enumerate(TARGETS):
        name = make().name
        if options.only in (None, name):
            report = in_its_own_process(index, options.runs, options.seed)
            failures += [(name, *failure) for failure in report["failures"]]
            text += line(name, report)
            print(line(name, report), end="", flush=True)
    if options.write:
        TABLE.write_text(f"# Fuzzing the readers\n\nSeed {options.seed}.\n\n{text}")
    for name, what, _ in failures:
        print(f"{name}: {what}", file=sys.stderr)
    if failures:
        (HERE / "fuzz-failures.json").write_text(json.dumps(failures, indent=1))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
