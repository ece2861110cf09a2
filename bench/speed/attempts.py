"""What the fast kernels' decisions are worth, and what is left to gain.

    python -m bench.speed.attempts [--model yolov7|yolov7-tiny] [--rounds R]

An attempt is a copy of the package in which some text is replaced by other text; each text must
occur there exactly once. First the predictions of all attempts must be those of the package bit
for bit, since no decision about speed may change a bit. Then every round runs every attempt once,
in turn. Two ratios to the package's time, above 1 where the attempt lost: "alone" is that of the
best times over the rounds, when nobody else used the cores; "as it was" is the median over the
rounds, with whatever else ran there. On one thread a pass runs step by step (engines.py), and its
best time is the sum of every step's. On two, a step at a time would add the waking of the threads
to every step, so whole passes are timed.

In the same rounds run copies of the package in which parts of the work take no time, because they
are left out; their predictions are wrong, and only their times are read. They say how much any
better way of doing that part could gain at most; on two threads the last two do not, since both
threads then write to the same memory.

Writes bench/speed/attempts.md, and prints it. A ratio closer to 1 than that of "the package again"
says nothing.
"""

import argparse
import operator
import shutil
import tempfile
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.pages import table
from bench.project import ROOT
from bench.speed.forward import Engine, machine, ratio, rounds_of

REPORT = Path(__file__).with_suffix(".md")
THREADS = (1, 2)
COLUMNS = ("x the package", "1 thread, alone", "as it was", "2 threads, alone", "as it was")
HEAD = """# Attempts that lost, and by how much

Written by `python -m bench.speed.attempts`; see its docstring. {model}, 640 x 640, {machine};
{rounds} rounds.

"""
LEFT = """
What is left: parts of the work left out, each line on top of the one above.

"""


class Change(NamedTuple):
    """In a file of the package, `old` becomes `new`."""

    file: str
    old: str
    new: str


KERNEL, STEP, TILE = "engine/conv_kernel.py", "engine/conv_step.py", "engine/tile_kernel.py"


def prefetch(address: str, level: int) -> Change:
    """That prefetch left out."""
    return Change(TILE, f"prefetch(builder, {address}, {level})", address)


ATTEMPTS: dict[str, tuple[Change, ...]] = {
    "the package again": (),
    "tiles of 7x4, which spill, in place of 6x4": (
        Change("engine/tiles.py", "Tiles((6, 5, 4), 4, 1.0)", "Tiles((7, 5, 4), 4, 1.0)"),
        Change(TILE, "tile_4x4 = tile(6, 4)", "tile_4x4 = tile(7, 4)"),
    ),
    "no tiles of 6x4 and 8x2": (
        Change("engine/tiles.py", "Tiles((6, 5, 4), 4, 1.0)", "Tiles((5, 5, 4), 4, 1.0)"),
        Change("engine/tiles.py", "Tiles((8, 5, 4), 2, 1.0)", "Tiles((5, 5, 4), 2, 1.0)"),
        Change(TILE, "tile_4x4 = tile(6, 4)", "tile_4x4 = tile(5, 4)"),
        Change(TILE, "tile_4x2 = tile(8, 2)", "tile_4x2 = tile(5, 2)"),
    ),
    "two products at a time": (
        Change(TILE, "do_run(INT64(LANES), 4)", "do_run(INT64(LANES), 2)"),
    ),
    "a run of products at a time": (
        Change(TILE, "do_run(INT64(LANES), 4)", "do_run(INT64(LANES), LANES)"),
    ),
    "LLVM chooses what addresses it keeps": (
        Change(TILE, "windows = [opaque(builder, builder.add(", "windows = [(builder.add("),
    ),
    "taps in the padding are multiplied": (
        Change(STEP, "negative_zero or not panels.finite", "True"),
    ),
    "kernel columns in the padding are multiplied": (
        Change("engine/strips.py", "full and len(full) < len(columns)", "False"),
    ),
    "poolings are steps of their own": (
        Change("engine/plan.py", "pools = pools_of(nodes, stem)", "pools = {}"),
    ),
    "the next tile's input is not fetched": (prefetch("builder.add(window, there)", 3),),
    "the next tile's totals are not fetched": (
        prefetch("builder.add(next_total, times(plane, v))", 3),
    ),
    "the next panel is not fetched": (prefetch("builder.add(soon, INT64(64 * line))", 2),),
    "SiLU treats all numbers as special": (
        Change(KERNEL, "and are_easy(output, plane, vectors)", "and vectors == 0"),
    ),
    "constants by absolute addresses": (
        Change("engine/native.py", 'reloc="pic", codemodel="small"', 'codemodel="jitdefault"'),
    ),
    "items for half of the cache": (Change(STEP, "CACHE = 900_000", "CACHE = 450_000"),),
    "items for twice the cache": (Change(STEP, "CACHE = 900_000", "CACHE = 1_800_000"),),
    "items of at least 16 tiles": (Change(STEP, "MANY_TILES = 64", "MANY_TILES = 16"),),
    "items of at least 256 tiles": (Change(STEP, "MANY_TILES = 64", "MANY_TILES = 256"),),
    "last items of 6 tiles": (Change(STEP, "LEAST_TILES = 24", "LEAST_TILES = 6"),),
    "items do not shrink": (Change(STEP, "        if threads > 1:", "        if False:"),),
    "small pages": (Change("engine/blocked.py", "if size >= LARGE and", "if False and"),),
    "each panel in pages of its own": (
        Change("engine/engine.py", "new = cutter(sum(map(room_for, nodes)))", "new = aligned"),
    ),
    "planes as close as they fit": (
        Change("engine/blocked.py", "// LINE) * LINE + LINE, row", "// LINE) * LINE, row"),
    ),
    "first layers not in bands": (
        Change("engine/plan.py", "height) if in_bands else NO_STEM", "height) if 0 else NO_STEM"),
    ),
}

OTHER_STEPS = ("MAX_POOL", "UPSAMPLE", "ADD", "COPY", "BORDER", "DECODE")
PARTS: dict[str, tuple[Change, ...]] = {
    "without activations": (Change(KERNEL, "activation=step.activation if", "activation=0 if"),),
    "without anything but convolutions": (
        Change(KERNEL, "if step.pool_step != 0:", "if step.pool_step < 0:"),
        *(
            Change("engine/work_kernel.py", f"step.kind == {kind}:", "step.kind < 0:")
            for kind in OTHER_STEPS
        ),
    ),
    "every tile has the same input and totals": (
        Change(KERNEL, "x + pixels * x_step, y + pixels * y_step", "x + 0 * pixels, y"),
        Change(KERNEL, "x, y = strip.x,", "one = strip_at(step.strips); x, y = one.x,"),
        Change(KERNEL, "strip.y + group", "one.y + group"),
    ),
    "every K-block has the same panel": (
        Change(KERNEL, "(group * step.products + k) * LINE", "0 * (group + k) * LINE"),
        Change(KERNEL, "end = weight + count * LINE * vectors", "end = weight"),
    ),
}


def attempt(changes: tuple[Change, ...], folder: Path) -> Path:
    """A folder with the changed package."""
    package = folder / "refquant"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "refquant", package, ignore=ignored)
    for file, old, new in changes:
        text = (package / file).read_text()
        if text.count(old) != 1:
            raise SystemExit(f"{file} has {text.count(old)} times, not once: {old}")
        (package / file).write_text(text.replace(old, new))
    return folder


def measure(
    model: str, threads: int, count: int, folders: list[Path]
) -> tuple[list[float], list[float]]:
    """Of each attempt, its time relative to the package's: alone, and as it was."""
    way = "refquant-steps" if threads == 1 else "refquant"
    engines = [Engine(way, model, threads, folder) for folder in (ROOT, *folders)]
    ours, *maps = (engine.outputs()[0] for engine in engines)
    for name, theirs in zip(ATTEMPTS, maps, strict=False):  # the rest leave work out
        if not np.array_equal(ours.view(np.uint32), theirs.view(np.uint32)):
            raise SystemExit(f"{name}: other bits")
    for number, engine in enumerate(engines):
        engine.name = str(number)
    rounds = rounds_of(engines, count)
    if threads == 1:
        best, *theirs = (float(engine.ask("best")) for engine in engines)
    else:
        best, *theirs = (min(r[engine.name].wall for r in rounds) for engine in engines)
    for engine in engines:
        engine.close()
    others = [ratio(rounds, engine.name, "0") or 0.0 for engine in engines[1:]]
    return [time / best for time in theirs], others


def ratios_of(names: Iterable[str], columns: list[list[float]]) -> str:
    """Names, and of each its ratio in every column."""
    lines = zip(names, *columns, strict=False)
    rows = [(name, *(f"{ratio:.3f}" for ratio in ratios)) for name, *ratios in lines]
    return table(COLUMNS, rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="yolov7", choices=("yolov7", "yolov7-tiny"))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    copies = (*ATTEMPTS.values(), *accumulate(PARTS.values(), operator.add))
    with tempfile.TemporaryDirectory() as folder:
        made = [attempt(changes, Path(folder) / str(i)) for i, changes in enumerate(copies)]
        both = [measure(options.model, n, options.rounds, made) for n in THREADS]
    columns = [ratios for pair in both for ratios in pair]
    text = HEAD.format(model=options.model, machine=machine(), rounds=options.rounds)
    text += ratios_of(ATTEMPTS, columns)
    text += LEFT + ratios_of(PARTS, [ratios[len(ATTEMPTS) :] for ratios in columns])
    REPORT.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
