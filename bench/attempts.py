"""What the fast kernels' decisions are worth: each one undone, beside the package as it is.

    python bench/attempts.py [--model yolov7|yolov7-tiny] [--rounds R]

An attempt is a copy of the package in which some text is replaced by other text; each text must
occur there exactly once. First the predictions of all attempts must be those of the package bit
for bit, since no decision about speed may change a bit. Then every round runs every attempt once,
in turn, as in forward.py, whose rule on quiet rounds applies. What counts is the median over the
rounds of the ratio of the attempt's time to the package's: above 1 the attempt lost.

Writes bench/attempts.md, and prints it. A ratio closer to 1 than that of "the package again"
says nothing.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from forward import HERE, Engine, judged, machine, rounds_of

REPORT = HERE / "attempts.md"
THREADS = (1, 2)
HEAD = """# Attempts that lost, and by how much

Written by `python bench/attempts.py`; see its docstring. {model}, 640 x 640, {machine}; {rounds}.

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
    "the next tile's input is not fetched": (
        Change(SIMD, "        prefetch(builder, builder.add(inputs[0], later), 3)\n", ""),
    ),
    "the next panel is not fetched": (Change(KERNEL, "    prefetch_l2(line)", "    pass"),),
    "SiLU treats all numbers as special": (
        Change(KERNEL, "and are_easy(output, plane, vectors)", "and vectors == 0"),
    ),
    "the activation right after its tile": (
        Change(KERNEL, "before = outputs - 8 * pixels", "before = outputs"),
        Change(KERNEL, "pixels if first > 0 else 0", "min(pixels, total - first)"),
        Change(
            KERNEL, "if activation != LINEAR:\n            done", "if False:\n            done"
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
        Change("graph/engine.py", "x.shape[3], threads, True)", "x.shape[3], threads, False)"),
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


def measure(model: str, threads: int, count: int, folders: list[Path]) -> tuple[list[float], int]:
    """Of each attempt, the median ratio to the package; and how many rounds were quiet."""
    engines = [Engine("refquant", model, threads, folder) for folder in (HERE.parent, *folders)]
    for i, engine in enumerate(engines):
        engine.name = str(i)  # the package is 0
    ours, *others = (engine.outputs()[0] for engine in engines)
    for name, theirs in zip(ATTEMPTS, others, strict=True):
        if not np.array_equal(ours.view(np.uint32), theirs.view(np.uint32)):
            raise SystemExit(f"{name}: other bits")
    rounds = rounds_of(engines, count)
    for engine in engines:
        engine.close()
    used, quiet = judged(rounds)
    ratios = [
        statistics.median(r[str(i)].wall / r["0"].wall for r in used)
        for i in range(1, len(engines))
    ]
    return ratios, quiet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="yolov7", choices=("yolov7", "yolov7-tiny"))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = [attempt(c, Path(folder) / str(i)) for i, c in enumerate(ATTEMPTS.values())]
        columns = [measure(options.model, n, options.rounds, made) for n in THREADS]
    quiet = " and ".join(f"{number} of {options.rounds} rounds quiet" for _, number in columns)
    text = HEAD.format(model=options.model, machine=machine(), rounds=quiet)
    text += "| attempt | x the package, 1 thread | x the package, 2 threads |\n|---|---|---|\n"
    for i, name in enumerate(ATTEMPTS):
        text += f"| {name} |" + "".join(f" {ratios[i]:.3f} |" for ratios, _ in columns) + "\n"
    REPORT.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
