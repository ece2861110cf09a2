"""`refquant evaluate MODEL --data DATASET`: COCO average precision, the twelve numbers."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refquant.arrays.errors import BadInput
from refquant.cli.common import (
    MODEL_HELP,
    add_threads,
    add_verb,
    fraction,
    positive,
    print_json,
    progress_bar,
    table,
)

if TYPE_CHECKING:
    from refquant.detect.dataset import DataSet

EXAMPLE = """
refquant evaluate yolov7.h5 --data coco                  coco/annotations/instances_val2017.json
refquant evaluate yolov7.h5 --images val2017 --annotations instances_val2017.json
refquant evaluate yolov7.h5 --data coco --results detections.json --json
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "evaluate", "measure average precision on a data set", EXAMPLE)
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("--data", type=Path, help="a folder in COCO's layout")
    parser.add_argument("--split", help="which split of --data, if there are several")
    parser.add_argument("--images", type=Path, help="instead of --data: a folder of images")
    parser.add_argument("--annotations", type=Path, help="and its COCO annotations")
    parser.add_argument("--results", type=Path, help="write the detections as COCO results JSON")
    parser.add_argument(
        "--protocol",
        choices=("square",),
        default="square",
        help="square: letterbox to SIZE x SIZE, padding 114, multi-label (default)",
    )
    parser.add_argument("--size", type=positive, default=640, help="default: %(default)s")
    parser.add_argument("--conf", type=fraction, default=0.001, help="default: %(default)s")
    parser.add_argument("--iou", type=fraction, default=0.65, help="default: %(default)s")
    parser.add_argument(
        "--nms", choices=("exact", "compat"), default="exact", help="default: %(default)s"
    )
    parser.add_argument(
        "--max-detections", type=positive, default=300, help="per image, default: %(default)s"
    )
    add_threads(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from refquant.arrays.atomic import atomic_path
    from refquant.detect.evaluate import evaluate
    from refquant.formats import load_model

    dataset = data_set(options)
    model = load_model(options.model)
    with progress_bar(len(dataset.images), "evaluate") as advance:
        stats = evaluate(
            model,
            dataset,
            protocol=options.protocol,
            size=options.size,
            conf=options.conf,
            iou=options.iou,
            nms=options.nms,
            max_detections=options.max_detections,
            threads=options.threads,
            progress=lambda done, total: advance(),
        )
    if options.results is not None:
        with atomic_path(options.results) as temporary:
            temporary.write_text(json.dumps(stats.results), encoding="utf-8")
    if options.json:
        print_json(stats.to_json())
    else:
        show(stats.to_json())
    return 0


def data_set(options: argparse.Namespace) -> "DataSet":
    """The data set that --data, or --images with --annotations, names."""
    from refquant.detect.dataset import find_dataset, read_dataset

    if options.data is not None and options.images is None and options.annotations is None:
        return find_dataset(options.data, options.split)
    if options.data is None and options.images is not None and options.annotations is not None:
        return read_dataset(options.images, options.annotations)
    raise BadInput("data set", "not named", "give --data, or --images together with --annotations")


def show(stats: dict[str, Any]) -> None:
    """The twelve numbers, then AP per class."""
    per_class = stats.pop("per_class")
    print(table(([name, text(value)] for name, value in stats.items()), ("measure", "value")))
    print()
    print(table(([name, text(value)] for name, value in per_class.items()), ("class", "AP")))


def text(value: float | int | None) -> str:
    """A number with four decimals, a count as it is, "-" where there is nothing to find."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
