"""`refquant study [MODEL] [--data D] [-o DIR]`: the comparison of the paper, with its report."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refquant.cli.common import (
    MODEL_HELP,
    SIZE_HELP,
    add_verb,
    positive,
    print_json,
    say,
    seed,
    table,
)
from refquant.cli.evaluate import data_set, say_matches
from refquant.cli.workers import add_workers, executor_of, threads_of

if TYPE_CHECKING:
    from refquant.detection.dataset import DataSet
    from refquant.graph.graph import Model
    from refquant.study.configurations import Configuration

EXAMPLE = """
refquant study --quick                          the embedded model and data, a minute or two
refquant study -o whole                         the whole grid of the paper on them
refquant study yolov7.pt --data coco -o study   on COCO; stop and go on at any time
refquant study yolov7.pt --data coco -o study --bits 8,6,4,3 --workers 8
refquant study yolov5s.pt --images val2017 --annotations val.json --preset recorded -o five
refquant study --schemes affine,pwlq:search --granularities filter,c-shape --bits 4,5 -o grid
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "study", "compare ways to quantize by AP and bytes", EXAMPLE)
    parser.add_argument("model", nargs="?", default="demo", help=f"{MODEL_HELP} (default: demo)")
    parser.add_argument("--data", type=Path, help="a folder in COCO's layout (default: demo)")
    parser.add_argument("--split", help="which split of --data, if there are several")
    parser.add_argument("--images", type=Path, help="instead of --data: a folder of images")
    parser.add_argument("--annotations", type=Path, help="the COCO annotations of --images")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N images, evenly spread")
    add_what(parser)
    parser.add_argument(
        "--protocol", choices=("square", "yolov7"), default="square", help="as evaluate has them"
    )
    parser.add_argument(
        "--size", type=positive, help=f"side of the network's input in pixels ({SIZE_HELP})"
    )
    parser.add_argument(
        "--resamples",
        type=positive,
        default=1000,
        help="how many, for the intervals (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="the seed of the resamples (default: %(default)s)"
    )
    add_workers(parser, "DIR")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("refquant-study"), metavar="DIR",
        help="where everything is kept, and continued from (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="where the report is written (default: the same)",
    )
    parser.set_defaults(run=run)


def add_what(parser: argparse.ArgumentParser) -> None:
    """The options that choose the configurations."""
    presets = parser.add_mutually_exclusive_group()
    presets.add_argument(
        "--preset", choices=("quick", "recorded", "paper"), default="paper",
        help="quick: the headlines on 120 images; recorded: the paper's grid; paper (default): "
        "the grid and every other scheme",
    )  # fmt: skip
    for name in ("quick", "paper"):
        presets.add_argument(
            f"--{name}", dest="preset", action="store_const", const=name,
            help=f"the same as --preset {name}",
        )  # fmt: skip
    parser.add_argument(
        "--bits", type=widths, default=(), metavar="K,K", help="widths instead of 4, such as 8,6,4"
    )
    parser.add_argument(
        "--schemes", type=names, metavar="S,S",
        help="instead of a preset, such as affine,pwlq:search (default: affine)",
    )  # fmt: skip
    parser.add_argument(
        "--granularities", type=names, metavar="G,G",
        help="instead of a preset, such as filter,c-shape (default: filter)",
    )  # fmt: skip


def widths(text: str) -> tuple[int, ...]:
    """Whole numbers with commas, such as "4,5", for argparse."""
    return tuple(int(part) for part in text.split(","))


def names(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def run(options: argparse.Namespace) -> int:
    try:
        results = studied(options)
    except KeyboardInterrupt:
        print(
            f"refquant: interrupted; what is done stands in {options.output}, the same command"
            " goes on from there",
            file=sys.stderr,
        )
        return 130
    print_json(results) if options.json else show(results, report_folder(options))
    return 0


def report_folder(options: argparse.Namespace) -> Path:
    """Where the report goes."""
    folder: Path = options.report or options.output
    return folder


def studied(options: argparse.Namespace) -> Mapping[str, Any]:
    """The study that the options ask for, its report written."""
    from refquant.formats.catalogue import load_model
    from refquant.study.report.report import write_report
    from refquant.study.sweep import Work, study

    dataset, model = chosen_data(options), load_model(options.model)
    say_matches(model, dataset)
    configurations, folder = wanted(options, model), report_folder(options)
    with executor_of(options) as executor, Progress() as progress:
        results = study(
            model,
            dataset,
            options.output,
            configurations,
            protocol=options.protocol,
            size=options.size,
            resamples=options.resamples,
            seed=options.seed,
            work=Work(
                threads=threads_of(options),
                executor=executor,
                scratch=options.output if options.dask else None,
                progress=progress.show,
                after=lambda found: write_report(found, folder),
            ),
        )
    write_report(results, folder)
    return results


def is_demo(options: argparse.Namespace) -> bool:
    """Whether the data set is the embedded one."""
    return options.images is None and options.data in (None, Path("demo"))


def chosen_data(options: argparse.Namespace) -> "DataSet":
    """The data set, or an evenly spread part of it."""
    from refquant.detection.dataset import find_dataset
    from refquant.formats.official import weights_folder
    from refquant.study.configurations import QUICK_IMAGES

    if is_demo(options) and options.annotations is None:
        dataset = find_dataset(weights_folder() / "demo")
    else:
        dataset = data_set(options)
    quick = QUICK_IMAGES if options.preset == "quick" else len(dataset.images)
    count = min(options.limit or quick, len(dataset.images))
    spread = [dataset.images[k * len(dataset.images) // count].id for k in range(count)]
    return dataset.only(set(spread))


def wanted(options: argparse.Namespace, model: "Model") -> "list[Configuration]":
    """The configurations that the options name."""
    from refquant.study.configurations import PAPER_BITS, grid, preset
    from refquant.study.measure import filter_saving

    if options.schemes is None and options.granularities is None:
        return preset(options.preset, filter_saving(model), options.bits)
    chosen = grid(
        options.schemes or ("affine",),
        options.granularities or ("filter",),
        options.bits or (PAPER_BITS,),
    )
    return list(dict.fromkeys(chosen))


class Progress:
    """A bar on stderr where that is a terminal, in images over all configurations."""

    def __enter__(self) -> "Progress":
        self.bar: Any = None
        return self

    def show(self, what: str, done: int, total: int, image: int, images: int) -> None:
        from tqdm import tqdm

        if self.bar is None or self.bar.total != total * max(images, 1):
            self.__exit__()
            unit = "image" if images else "configuration"
            self.bar = tqdm(
                total=total * max(images, 1), initial=done * max(images, 1) + image,
                file=sys.stderr, disable=None, unit=unit,
            )  # fmt: skip
        self.bar.set_description(what, refresh=False)
        self.bar.update(done * max(images, 1) + image - self.bar.n)

    def __exit__(self, *what: object) -> None:
        if self.bar is not None:
            self.bar.close()


def show(results: Mapping[str, Any], folder: Path) -> None:
    """Print a line per configuration, why a combination loses more, the claims, the path."""
    from refquant.study.report.findings import combinations
    from refquant.study.report.tables import configuration_row

    header = ("configuration", "AP %", "loss", "95% interval", "against float32", "stored bits")
    rows = [configuration_row(row) for row in results["configurations"]]
    say(table(([cell.text for cell in row[: len(header)]] for row in rows), header))
    say()
    if why := combinations(results):
        say(f"{why}\n")
    claims = [(c["claim"], c["published"], c["verdict"]) for c in results["claims"]]
    say(table(claims, ("the paper's claims", "published", "verdict")))
    say(f"\n{folder / 'report.html'}")
