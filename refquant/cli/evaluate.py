"""`refquant evaluate MODEL --data DATASET`: COCO average precision, the twelve numbers."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refquant.arrays.errors import BadInput
from refquant.cli.common import (
    MODEL_HELP,
    SIZE_HELP,
    add_verb,
    fraction,
    positive,
    print_json,
    say,
    table,
)
from refquant.cli.workers import add_workers, executor_of, threads_of

if TYPE_CHECKING:
    from refquant.detection.dataset import DataSet
    from refquant.detection.score import CocoStats
    from refquant.graph.graph import Model

MOST_PAIRS = 5
EXAMPLE = """
refquant evaluate yolov7.h5 --data coco                  coco/annotations/instances_val2017.json
refquant evaluate yolov7.h5 --images val2017 --annotations instances_val2017.json
refquant evaluate yolov7.h5 --data coco --protocol yolov7      as the public test code measures
refquant evaluate yolov7.h5 --data coco --results float.json   can be interrupted and continued
refquant evaluate four.h5 --data coco --results four.json --compare float.json
refquant evaluate yolov7.h5 --data coco --workers 8 --json
refquant evaluate yolov7.h5 --data coco --dask tcp://head:8786 --results shared/float.json
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "evaluate", "measure average precision on a data set", EXAMPLE)
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument(
        "--data", type=Path, help="a folder in COCO's layout, or demo (the embedded images)"
    )
    parser.add_argument("--split", help="which split of --data to take, if there are several")
    parser.add_argument("--images", type=Path, help="a folder of images, instead of --data")
    parser.add_argument("--annotations", type=Path, help="the COCO annotations of --images")
    add_protocol(parser)
    parser.add_argument(
        "--results",
        type=Path,
        help="write the detections as COCO results in JSON; what is done stands in "
        "RESULTS.partial, from where the same command goes on after an interruption",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="RESULTS",
        help="print the difference in AP to these COCO results, with its 95%% interval",
    )
    add_workers(parser, "the folder of RESULTS")
    parser.set_defaults(run=run)


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Add the options that decide about detections."""
    parser.add_argument(
        "--protocol",
        choices=("square", "yolov7"),
        default="square",
        help="square (default): letterbox each image to SIZE x SIZE, padded with 114; yolov7: "
        "as the public test code has it, with rectangular batches, half a stride of padding, its "
        "two ways to resize and its NMS",
    )
    parser.add_argument(
        "--size", type=positive, help=f"the side of the network's input in pixels ({SIZE_HELP})"
    )
    parser.add_argument(
        "--conf", type=fraction, default=0.001, help="the lowest score (default: %(default)s)"
    )
    parser.add_argument(
        "--iou", type=fraction, default=0.65, help="the overlap NMS allows (default: %(default)s)"
    )
    parser.add_argument(
        "--nms",
        choices=("exact", "compat"),
        help="as detect has it (default: exact for square, compat for yolov7)",
    )
    parser.add_argument(
        "--max-detections", type=positive, default=300,
        help="how many to keep per image (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=positive,
        help="how many images share a rectangle in protocol yolov7 (default: 32)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from refquant.detection.results_json import read_results, write_results

    if options.results is not None and options.results.is_dir():  # told now, not hours later
        raise BadInput(options.results, "is a folder", "name a file, such as results.json")
    dataset = data_set(options)
    other = None if options.compare is None else read_results(options.compare, dataset)
    log = None
    if options.results is not None:
        log = options.results.with_name(options.results.name + ".partial")
    try:
        stats = measure(options, dataset, log)
    except KeyboardInterrupt:
        return interrupted(log)
    if options.results is not None:
        write_results(options.results, stats.results)
    report = stats.to_json()
    if other is not None:
        report["comparison"] = comparison(options.compare, dataset, stats, other)
    print_json(report) if options.json else show(report)
    return finished(stats, log)


def measure(options: argparse.Namespace, dataset: "DataSet", log: Path | None) -> "CocoStats":
    """The evaluation that the options ask for."""
    from refquant.detection.evaluate import evaluate
    from refquant.formats.catalogue import load_model

    model = load_model(options.model)
    say_matches(model, dataset)
    with executor_of(options) as executor, Progress() as progress:
        return evaluate(
            model,
            dataset,
            protocol=options.protocol,
            size=options.size,
            conf=options.conf,
            iou=options.iou,
            nms=options.nms,
            max_detections=options.max_detections,
            batch=options.batch,
            threads=threads_of(options),
            executor=executor,
            scratch=log.parent if log is not None and options.dask else None,
            log=log,
            progress=progress.show,
        )


def say_matches(model: "Model", dataset: "DataSet") -> None:
    """Say on stderr which classes were taken for categories of other names: it is a guess."""
    from refquant.detection.dataset import matched_by_order

    pairs = [f"{name} = {other}" for name, other in matched_by_order(model.class_names, dataset)]
    if pairs:
        some = ", ".join(pairs[:MOST_PAIRS]) + (", ..." if len(pairs) > MOST_PAIRS else "")
        print(f"refquant: note: classes matched by order, not by name: {some}", file=sys.stderr)


def finished(stats: "CocoStats", log: Path | None) -> int:
    """The exit code; the log is kept as long as images are missing from it."""
    if not stats.failed:
        if log is not None:
            log.unlink()
        return 0
    for failure in stats.failed:
        print(f"refquant: {failure['error']}", file=sys.stderr)
    advice = "" if log is None else f"; mend them, and the same command goes on from {log}"
    print(
        f"refquant: {len(stats.failed)} of {stats.images} images could not be read and count as "
        f"images where nothing was found{advice}",
        file=sys.stderr,
    )
    return 3


def interrupted(log: Path | None) -> int:
    """The exit code after Ctrl-C, and how to go on."""
    advice = "nothing is kept; with --results FILE it could be continued"
    if log is not None:
        advice = f"what is done stands in {log}; the same command goes on from there"
    print(f"refquant: interrupted; {advice}", file=sys.stderr)
    return 130


class Progress:
    """A bar on stderr if that is a terminal; images of an earlier run do not count as speed."""

    def __enter__(self) -> "Progress":
        self.bar: Any = None
        return self

    def show(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(
                total=total,
                initial=done,
                desc="evaluate",
                file=sys.stderr,
                disable=None,
                unit="image",
            )
        self.bar.update(done - self.bar.n)

    def __exit__(self, *what: object) -> None:
        if self.bar is not None:
            self.bar.close()


def comparison(
    path: Path, dataset: "DataSet", stats: "CocoStats", other: list[dict[str, Any]]
) -> dict[str, Any]:
    """The paired bootstrap of these results against others."""
    from refquant.study.bootstrap import compare

    return {"other": str(path)} | compare(dataset, stats.results, other).to_json()


def data_set(options: argparse.Namespace) -> "DataSet":
    """The data set that --data, or --images with --annotations, names."""
    from refquant.detection.dataset import find_dataset, read_dataset

    if options.data is not None and options.images is None and options.annotations is None:
        return find_dataset(options.data, options.split)
    if options.data is None and options.images is not None and options.annotations is not None:
        return read_dataset(options.images, options.annotations)
    raise BadInput("data set", "is not named", "give --data, or --images with --annotations")


def show(report: dict[str, Any]) -> None:
    """The twelve numbers, AP per class, and the comparison if there is one."""
    from refquant.detection.score import NUMBERS

    rows = [[name, text(report[name])] for name in (*NUMBERS, "images")]
    rows += [["failed", str(len(report["failed"]))]] if report["failed"] else []
    say(table(rows, ("measure", "value")))
    say()
    per_class = report["per_class"].items()
    say(table(([name, text(value)] for name, value in per_class), ("class", "AP")))
    if "comparison" in report:
        say()
        print_comparison(report["comparison"])


def print_comparison(found: dict[str, Any]) -> None:
    """The difference in one paragraph."""
    say(f"compared with {found['other']}: AP {found['AP']:.4f} against {found['AP_other']:.4f}")
    say(
        f"difference {found['difference']:+.4f}, 95% interval {found['low']:+.4f} ... "
        f"{found['high']:+.4f} ({found['images']} images, {found['resamples']} resamples, "
        f"seed {found['seed']}): {found['verdict']}"
    )
    say(f"an interval one point wide needs about {found['images_for_one_point']} images")


def text(value: float | int | None) -> str:
    """A number with four decimals, a count as it is, "-" where there is nothing to find."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
