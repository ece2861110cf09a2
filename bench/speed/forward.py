"""A whole forward pass against onnxruntime, and torch where it is installed.

    python -m bench.speed.forward [--model yolov7|yolov7-tiny] [--threads N] [--rounds R] [--json]

All engines turn the same image into the same predictions, the decode of the head included; these
are compared first. Then every round runs every engine once, in turn, and what counts is the
median over the rounds of the ratio of our time to theirs. onnxruntime runs once more without the
decode ("raw"; ours still has it). One process per engine (engines.py).

Threads of some engines spin for a while when their work is done, and would take a core from the
engine whose turn is next; so every turn begins with a rest of all.

A round counts as quiet when programs other than the engine that ran took at most 5% of the
cores. If at least half of the rounds are quiet, only those are used; otherwise all, and the
table says so.

    fraction of peak = operations of all convolutions / (our best time * peak of `threads` cores)

where operations with the padding count too, though most of them are not done (strips.py), and
the peak is measured by fused multiply-adds in registers (peak.py), once in every round; of
it, too, the best counts. "At the peak" is the ratio to onnxruntime's best time that these
operations alone would have, at that peak. Memory is ru_maxrss of a new process that loads the
model from an HDF5 file and runs it once, the compile cache warm. Adds its line to the runs of
forward.md, and prints it; ratios depend on what else a machine's memory and caches serve
at the time, so what counts is the median of several runs of the same code at different times.
"""

import argparse
import ast
import hashlib
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.pages import table
from bench.project import ROOT
from bench.speed.peak import peak
from refquant.formats.catalogue import save_model
from refquant.graph.architecture import build
from refquant.graph.graph import Model
from refquant.graph.shapes import shapes_of
from refquant.quant.recipe import quantize_model, uniform

REPORT = Path(__file__).with_suffix(".md")
QUIET = 0.05  # of all cores
REST = 0.3  # seconds; without it YOLOv7-tiny at 4 bits on two threads "takes" 1.47, not 1.05
# Two correct float32 networks of 100 layers differ by about 1e-6 of their outputs' root mean
# square; one wrong weight, or two channels exchanged, makes 1e-2 to 1. This is far from either.
ALIKE = 1e-4
COLUMNS = ("model", "threads", "ms", "x onnxruntime", "at the peak", "x raw", "x torch")
COLUMNS += ("% of peak", "MB", "x at 4 bit", "MB at 4 bit", "rounds", "quiet", "taken")
COLUMNS += ("code", "machine")
OF_ALL_RUNS = ("model", "threads", "code", "runs", "median x onnxruntime", "least", "most")
OF_ALL_RUNS += ("machine",)
HEAD = """# A whole forward pass at 640 x 640

Written by `python -m bench.speed.forward`. "x" columns are ratios of times, the median over rounds
in which the engines took turns; below 1 we are faster. MB are 10^6 bytes, the peak of a new
process. How it is measured: the command's docstring. "code" is a hash of the engine's statements,
or "earlier" where it was not kept.

"""


class Time(NamedTuple):
    """Seconds of a forward pass, and the share of the cores that others took meanwhile."""

    wall: float
    cpu: float
    others: float


class Engine:
    """An engine in a process of its own; `folder` has the package that it uses.

    `python -m` looks into the working folder first, so that is `folder`; bench is found behind it.
    """

    def __init__(self, name: str, model: str, threads: int, folder: Path = ROOT) -> None:
        command = [sys.executable, "-m", "bench.speed.engines", name, model, str(threads)]
        folders = [str(folder), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        self.name = name
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        )
        if self.answer() != f"ready {folder.resolve()}":
            raise SystemExit(f"{name} does not run, or not with the package in {folder}")

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, request: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return self.answer()

    def run(self) -> Time:
        time.sleep(REST)
        before = busy_seconds()
        wall, cpu = map(float, self.ask("run").split())
        others = (busy_seconds() - before - cpu) / (wall * (os.cpu_count() or 1))
        return Time(wall, cpu, max(others, 0.0))

    def outputs(self) -> list[np.ndarray]:
        path = Path(self.ask("outputs"))
        with np.load(path) as arrays:
            maps = [arrays[name] for name in arrays.files]
        path.unlink()
        return maps

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def busy_seconds() -> float:
    """Seconds that all cores were not idle so far, time stolen by other guests included."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def verify(engines: list[Engine]) -> None:
    """Refuse to time engines that do not compute the same."""
    ours, *others = (engine.outputs() for engine in engines)
    for engine, theirs in zip(engines[1:], others, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape
            error = np.sqrt(np.mean((a - b) ** 2.0) / np.mean(b**2.0))
            if not error < ALIKE:
                raise SystemExit(f"{engine.name} differs from refquant by {error:.1e}, rms")


def rounds_of(
    engines: list[Engine], count: int, after_each: Callable[[], Any] = lambda: None
) -> list[dict[str, Time]]:
    """`count` rounds, after two to warm up."""
    for engine in engines:
        engine.run()
        engine.run()
    rounds = []
    for _ in range(count):
        rounds.append({engine.name: engine.run() for engine in engines})
        after_each()
    return rounds


def judged(rounds: list[dict[str, Time]]) -> tuple[list[dict[str, Time]], int]:
    """The rounds that count, by the rule of the file's docstring, and how many were quiet."""
    quiet = [r for r in rounds if all(time.others <= QUIET for time in r.values())]
    return quiet if 2 * len(quiet) >= len(rounds) else rounds, len(quiet)


def ratio(rounds: list[dict[str, Time]], ours: str, theirs: str) -> float | None:
    """The median of the ratios of paired times."""
    if theirs not in rounds[0]:
        return None
    return statistics.median(r[ours].wall / r[theirs].wall for r in rounds)


def operations(model: Model) -> int:
    """Multiplications and additions of all convolutions at 640 x 640."""
    shapes = shapes_of(model.nodes, (3, 640, 640))
    total = 0
    for node in model.nodes:
        if node.op == "conv":
            _, P, Q = shapes[node.name]
            total += 2 * int(np.prod(node.arrays["weight"].shape)) * P * Q
    return total


def peak_memory(path: str, threads: int) -> int:
    """Bytes of a new process that loads and runs the model; of the second, all caches warm."""
    for _ in range(2):
        process = Engine("refquant", path, threads)
        process.run()
        memory = int(process.ask("memory"))
        process.close()
    return memory


def measure(name: str, threads: int, count: int) -> dict[str, Any]:
    """Everything, as the JSON object that the command prints."""
    names = ["refquant", "onnxruntime", "onnxruntime-raw", "refquant-4bit"]
    names += ["torch"] if importlib.util.find_spec("torch") else []
    engines = [Engine(engine, name, threads) for engine in names]
    verify(
        [engine for engine in engines if engine.name not in ("refquant-4bit", "onnxruntime-raw")]
    )
    peaks: list[float] = []
    rounds = rounds_of(engines, count, lambda: peaks.append(peak(threads)))
    for engine in engines:
        engine.close()
    used, quiet = judged(rounds)
    model = build(name)
    least = operations(model) / max(peaks)  # seconds
    best, best_onnxruntime = (min(r[n].wall for r in used) for n in names[:2])
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("float.h5", "4bit.h5")]
        save_model(model, paths[0])
        save_model(quantize_model(model, uniform(bits=4)), paths[1])
        memory, memory_4bit = (peak_memory(path, threads) for path in paths)
    return {
        "model": name,
        "threads": threads,
        "milliseconds": 1e3 * statistics.median(r["refquant"].wall for r in used),
        "ratio_onnxruntime": ratio(used, "refquant", "onnxruntime"),
        "ratio_onnxruntime_at_peak": least / best_onnxruntime,
        "ratio_onnxruntime_raw": ratio(used, "refquant", "onnxruntime-raw"),
        "ratio_torch": ratio(used, "refquant", "torch"),
        "fraction_of_peak": least / best,
        "peak_rss_bytes": memory,
        "ratio_4bit": ratio(used, "refquant-4bit", "refquant"),
        "peak_rss_bytes_4bit": memory_4bit,
        "rounds": count,
        "quiet_rounds": quiet,
        "machine": machine(),
    }


def machine() -> str:
    """The CPU as LLVM names it, and the number of cores."""
    from refquant.engine.tiles import cpu_compiled_for

    name = cpu_compiled_for().split(",")[0] or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def cells(result: dict[str, Any]) -> list[str]:
    """A line of the table."""
    torch = result["ratio_torch"]
    return [
        result["model"],
        str(result["threads"]),
        f"{result['milliseconds']:.0f}",
        f"{result['ratio_onnxruntime']:.3f}",
        f"{result['ratio_onnxruntime_at_peak']:.3f}",
        f"{result['ratio_onnxruntime_raw']:.3f}",
        "not installed" if torch is None else f"{torch:.3f}",
        f"{100 * result['fraction_of_peak']:.1f}",
        f"{result['peak_rss_bytes'] / 1e6:.0f}",
        f"{result['ratio_4bit']:.3f}",
        f"{result['peak_rss_bytes_4bit'] / 1e6:.0f}",
        str(result["rounds"]),
        str(result["quiet_rounds"]),
        f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M}",
        code(),
        result["machine"],
    ]


def record(line: list[str]) -> None:
    """Add the line to the report's runs, and say what all runs of each case gave."""
    lines = REPORT.read_text().splitlines()
    rows = [row.strip("| ").split(" | ") for row in lines if row.startswith("| yolov7")]
    old = [row for row in rows if len(row) == len(COLUMNS)]  # the other table is made anew
    runs = sorted([*old, line], key=lambda row: (row[0], row[1], row[-1]))
    ratios: dict[tuple[str, ...], list[float]] = {}  # of each model, threads, code and machine
    for row in runs:
        case = (*row[:2], *row[-2:])
        ratios.setdefault(case, []).append(float(row[COLUMNS.index("x onnxruntime")]))
    cases = []
    for (*case, host), found in ratios.items():
        numbers = (statistics.median(found), min(found), max(found))
        cases.append([*case, str(len(found)), *(f"{n:.3f}" for n in numbers), host])
    of_all = table(OF_ALL_RUNS, cases)
    REPORT.write_text(f"{HEAD}{of_all}\n\nThe runs:\n\n{table(COLUMNS, runs)}\n")


class WithoutDocstrings(ast.NodeTransformer):
    """Leaves out what is said, and keeps what is done."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


def code() -> str:
    """Eight digits that change with the statements of the engine."""
    digest = hashlib.sha256()
    rooms = (ROOT / "refquant" / room for room in ("ops", "graph", "engine"))
    for file in sorted(file for room in rooms for file in room.glob("*.py")):
        tree = WithoutDocstrings().visit(ast.parse(file.read_text()))
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="yolov7", choices=("yolov7", "yolov7-tiny"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.rounds < 9:
        parser.error("--rounds: choose 9 or more")
    result = measure(options.model, options.threads, options.rounds)
    record(cells(result))
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for name, cell in zip(COLUMNS, cells(result), strict=True):
            print(f"{name:16} {cell}")


if __name__ == "__main__":
    main()
