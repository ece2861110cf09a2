"""What the fast kernels' decisions are worth, and what is left to gain.

    python bench/attempts.py [--model yolov7|yolov7-tiny] [--rounds R]

An attempt is a copy of the package in which some text is replaced by other text; each text must
occur there exactly once. First the predictions of all attempts must be those of the package bit
for bit, since no decision about speed may change a bit. Then every round runs every attempt once,
in turn, step by step (engines.py). What counts is the sum of every step's best time over the
rounds, relative to the package's: above 1 the attempt lost.

In the same rounds run copies of the package in which parts of the work take no time, because they
are left out; their predictions are wrong, and only their times are read. They say how much any
better way of doing that part could gain at most.

Writes bench/attempts.md, and prints it. A ratio closer to 1 than that of "the package again"
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
from forward import HERE, Engine, machine, rounds_of

REPORT = HERE / "attempts.md"
THREADS = (1, 2)
HEAD = """# Attempts that lost, and by how much

Written by `python bench/attempts.py`; see its docstring. {model}, 640 x 640, {machine};
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


KERNEL, STEP, SIMD = "ops/conv_kernel.py", "ops/conv_step.py", "ops/simd.py"


def wide_tile(pixels: int) -> tuple[Change, ...]:
    """`pixels` x 4 in place of the tile 6x4."""
    return (
        Change("ops/tiles.py", "Tile(6, 4, 1.0)", f"Tile({pixels}, 4, 1.0)"),
        Change(SIMD, "= tile(6, 4)", f"= tile({pixels}, 4)"),
        Change(KERNEL, "conv_block(6, 4,", f"conv_block({pixels}, 4,"),
    )


ATTEMPTS: dict[str, tuple[Change, ...]] = {
    "the package again": (),
    "tiles of 5x4": wide_tile(5),
    "tiles of 7x4, which spill": wide_tile(7),
    "neither totals nor the next tile's input are fetched": (
        Change(SIMD, "        prefetch(builder, builder.add(read(", "        (builder.add(read("),
        Change(SIMD, "INT64, 8), distance), 3)", "INT64, 8), distance))"),
    ),
    "totals are not fetched": (Change(STEP, "(lane % 2 == 0) & ", ""),),
    "the next panel is not fetched": (Change(KERNEL, "    prefetch_l2(line)", "    pass"),),
    "SiLU treats all numbers as special": (
        Change(KERNEL, "and are_easy(output, plane, vectors)", "and vectors == 0"),
    ),
    "the activation when the next tile is done": (
        Change(
            KERNEL,
            "activate(outputs, y_plane, activation, min(pixels, total - first), vectors)",
            "before, number = outputs - 8 * pixels, pixels if first > 0 else 0\n"
            "                activate(before, y_plane, activation, number, vectors)\n"
            "                if first + pixels >= total:\n"
            "                    activate(outputs, y_plane, activation, total - first, vectors)",
        ),
    ),
    "constants by absolute addresses": (
        Change("ops/native.py", 'reloc="pic", codemodel="small"', 'codemodel="jitdefault"'),
    ),
    "items for half of the cache": (Change(STEP, "CACHE = 900_000", "CACHE = 450_000"),),
    "items for twice the cache": (Change(STEP, "CACHE = 900_000", "CACHE = 1_800_000"),),
    "items of at least 16 tiles": (Change(STEP, "MANY_TILES = 64", "MANY_TILES = 16"),),
    "items of at least 256 tiles": (Change(STEP, "MANY_TILES = 64", "MANY_TILES = 256"),),
    "last items of 6 tiles": (Change(STEP, "LEAST_TILES = 24", "LEAST_TILES = 6"),),
    "items do not shrink": (Change(STEP, "        if threads > 1:", "        if False:"),),
    "small pages": (Change("ops/blocked.py", "if size >= LARGE and", "if False and"),),
    "each panel in pages of its own": (
        Change("graph/engine.py", "new = cutter(sum(map(room_for, nodes)))", "new = aligned"),
    ),
    "planes as close as they fit": (
        Change("ops/blocked.py", "// LINE) * LINE + LINE, row", "// LINE) * LINE, row"),
    ),
    "first layers not in bands": (
        Change("graph/plan.py", "height) if in_bands else NO_STEM", "height) if 0 else NO_STEM"),
    ),
}

OTHER_STEPS = ("MAX_POOL", "UPSAMPLE", "ADD", "COPY", "BORDER", "DECODE")
PARTS: dict[str, tuple[Change, ...]] = {
    "without activations": (
        Change(KERNEL, "activation = step.activation if", "activation = 0 if"),
    ),
    "without steps other than convolutions": tuple(
        Change("ops/work_kernel.py", f"step.kind == {kind}:", "step.kind < 0:")
        for kind in OTHER_STEPS
    ),
    "every tile has the same input and totals": (
        Change(
            KERNEL,
            "WINDOWS + 8 * first, scratch + OUTPUTS + 8 * first",
            "WINDOWS, scratch + OUTPUTS",
        ),
    ),
    "every K-block has the same panel": (
        Change(KERNEL, "(group * step.products + k) * LINE * step.vectors", "0"),
        Change(KERNEL, "ahead = weight + count * LINE * vectors", "ahead = weight"),
    ),
}


def attempt(changes: tuple[Change, ...], folder: Path) -> Path:
    """A folder with the changed package."""
    package = folder / "refquant"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HERE.parent / "refquant", package, ignore=ignored)
    for file, old, new in changes:
        text = (package / file).read_text()
        if text.count(old) != 1:
            raise SystemExit(f"{file} has {text.count(old)} times, not once: {old}")
        (package / file).write_text(text.replace(old, new))
    return folder


def measure(model: str, threads: int, count: int, folders: list[Path]) -> list[float]:
    """Of each attempt, its time relative to the package's."""
    engines = [
        Engine("refquant-steps", model, threads, folder) for folder in (HERE.parent, *folders)
    ]
    ours, *others = (engine.outputs()[0] for engine in engines)
    for name, theirs in zip(ATTEMPTS, others, strict=False):  # the rest leave work out
        if not np.array_equal(ours.view(np.uint32), theirs.view(np.uint32)):
            raise SystemExit(f"{name}: other bits")
    rounds_of(engines, count)
    best, *theirs = (float(engine.ask("best")) for engine in engines)
    for engine in engines:
        engine.close()
    return [time / best for time in theirs]


def table(names: Iterable[str], columns: list[list[float]]) -> str:
    """Names, and of each its ratio in every column."""
    text = "| | x the package, 1 thread | x the package, 2 threads |\n|---|---|---|\n"
    for name, *ratios in zip(names, *columns, strict=False):
        text += f"| {name} |" + "".join(f" {ratio:.3f} |" for ratio in ratios) + "\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="yolov7", choices=("yolov7", "yolov7-tiny"))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    copies = (*ATTEMPTS.values(), *accumulate(PARTS.values(), operator.add))
    with tempfile.TemporaryDirectory() as folder:
        made = [attempt(changes, Path(folder) / str(i)) for i, changes in enumerate(copies)]
        columns = [measure(options.model, n, options.rounds, made) for n in THREADS]
    text = HEAD.format(model=options.model, machine=machine(), rounds=options.rounds)
    text += table(ATTEMPTS, columns)
    text += LEFT + table(PARTS, [ratios[len(ATTEMPTS) :] for ratios in columns])
    REPORT.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
