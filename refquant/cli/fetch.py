"""`refquant fetch NAME`: a released checkpoint, by its name."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from refquant.arrays.errors import BadInput
from refquant.cli.common import add_verb, print_json, say

BASE = "https://github.com/WongKinYiu/yolov7/releases/download/v0.1"
NAMES = (
    "yolov7",
    "yolov7-tiny",
    "yolov7x",
    "yolov7-w6",
    "yolov7-e6",
    "yolov7-d6",
    "yolov7-e6e",
    "yolov7_training",
    "yolov7x_training",
    "yolov7-w6_training",
    "yolov7-e6_training",
    "yolov7-d6_training",
    "yolov7-e6e_training",
)
EXAMPLE = """
refquant fetch yolov7                writes yolov7.pt; interrupted, the same command goes on
refquant fetch yolov7-tiny -o /models/tiny.pt
refquant fetch yolov7 --from http://mirror.example/yolov7
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "fetch", "fetch a released checkpoint", EXAMPLE)
    parser.add_argument("name", help=" | ".join(NAMES) + "; the hashes of the first two are known")
    parser.add_argument("-o", "--output", type=Path, help="the file to write (default: NAME.pt)")
    parser.add_argument(
        "--from",
        dest="base",
        default=BASE,
        metavar="URL",
        help="the folder on the web (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from refquant.formats.download import Known, fetch
    from refquant.formats.official import LICENCE, official_facts

    if options.name not in NAMES:
        raise BadInput(f"name={options.name}", f"choose {' | '.join(NAMES)}")
    file = f"{options.name}.pt"
    target = options.output or Path(file)
    if target.exists():
        raise BadInput(target, "exists already", "remove it, or choose another -o")
    size, sha256 = official_facts(file)
    print(f"licence note: {LICENCE}", file=sys.stderr)
    with progress(file) as advance:
        url = f"{options.base.rstrip('/')}/{file}"
        found = fetch(url, target, Known(size, sha256), advance=advance)
    result = {
        "output": str(target),
        "url": url,
        "bytes": target.stat().st_size,
        "sha256": found,
        "verified": sha256 is not None,
        "licence": LICENCE,
    }
    if options.json:
        print_json(result)
    else:
        known = "as released" if sha256 else "no hash of this file is known: it is not verified"
        say(f"{target}: {result['bytes']:,} bytes\nsha256 {found} ({known})")
    return 0


@contextlib.contextmanager
def progress(what: str) -> Iterator[Any]:
    """Show bytes on stderr where that is a terminal; yield advance(done, total)."""
    from tqdm import tqdm

    with tqdm(desc=what, file=sys.stderr, disable=None, unit="B", unit_scale=True) as bar:

        def advance(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance
