"""What the verbs share: options of the same name and meaning, JSON, progress and threads."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from refquant.arrays.errors import printable

T = TypeVar("T")

MODEL_HELP = (
    "a model's file (.h5, .pt, .onnx ...), demo (the embedded model), or random:yolov7 or "
    "random:yolov7-tiny (untrained, from a seed)"
)
SIZE_HELP = "default: what the model's file says, else 640"


def add_verb(
    subparsers: Any, name: str, summary: str, example: str, **options: Any
) -> argparse.ArgumentParser:
    """Add a verb's parser: it has a summary in one line, examples to paste, and --json."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in example.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return parser


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add --threads N, on which the result never depends."""
    parser.add_argument(
        "--threads",
        type=positive,
        default=usable_cores(),
        metavar="N",
        help="how many threads to use (default: all cores, %(default)s here); the result never "
        "depends on it",
    )


def positive(text: str) -> int:
    """Read an integer of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: choose 1 or more")
    return value


def seed(text: str) -> int:
    """Read an integer of at least 0, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text}: choose 0 or more")
    return value


def fraction(text: str) -> float:
    """Read a number from 0 to 1, for argparse."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: choose a number from 0 to 1")
    return value


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def say(text: str = "") -> None:
    """Print a result. Names of files, layers and classes may be a stranger's: see printable."""
    print("\n".join(printable(line) for line in text.split("\n")))


def print_json(result: Any) -> None:
    """Print the one JSON object of a run. NaN and infinities are not JSON and would raise."""
    print(json.dumps(result, indent=2, allow_nan=False))


def progress(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
    """Yield the items, with a progress bar on stderr where that is a terminal."""
    with progress_bar(total, what) as advance:
        for item in items:
            yield item
            advance()


@contextlib.contextmanager
def progress_bar(total: int, what: str) -> Iterator[Callable[[], Any]]:
    """Show a progress bar on stderr if that is a terminal; yield what advances it by an image."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, file=sys.stderr, disable=None, unit="image") as bar:
        yield bar.update


def table(rows: Iterable[Iterable[Any]], header: Iterable[str]) -> str:
    """Align rows as text: the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join((first, *others)).rstrip())
    return "\n".join(lines)
