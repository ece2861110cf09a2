"""Which scheme, granularity and width serves trained YOLOv7 weights best, per byte really stored?

    python -m bench.quantize.weights measure WEIGHTS.npz     rows into docs/quantization.csv
                                                             (--scheme, --granularity, --bits:
                                                             some of them)
    python -m bench.quantize.weights combine WEIGHTS.npz     into docs/quantization_combined.csv
    python -m bench.quantize.weights write                   docs/quantization_measured.md from
                                                             both, and from the files of photos.py
                                                             and speed.py

WEIGHTS.npz holds arrays named as in a state_dict (`model.0.conv.weight`); what is no weight of a
convolution of YOLOv7 is left out, and so are layers that the file lacks. Every row is checked
against its proven bound before it is written. Rows that a file has already are not measured again.
"""

import argparse
import csv
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.project import DOCS
from refquant.auditing.audit import audit_layer, total_of
from refquant.auditing.grid import grid
from refquant.graph.architecture import build
from refquant.graph.graph import Model
from refquant.quant.accounting import accounting
from refquant.quant.granularity import GRANULARITIES
from refquant.quant.recipe import parse, quantize_model
from refquant.quant.schemes import find_scheme

GRID, COMBINED, SPEED, PHOTOS = (
    DOCS / f"quantization{part}.csv" for part in ("", "_combined", "_speed", "_photos")
)
COLUMNS = (
    "scheme", "granularity", "bits", "code_bits", "layers", "weights", "groups", "sqnr_db",
    "max_error", "clipped", "nominal", "packed", "entropy",
)  # fmt: skip
SCHEMES = (
    "affine", "affine:minmax", "affine:mse", "symmetric", "symmetric:mse", "pwlq", "pwlq:search",
    "pwlq-eq3", "pwlq-code", "pwlq-overlap", "lloyd-max", "power-of-two", "affine+bc", "pwlq+bc",
    "pwlq:laplacian",
)  # fmt: skip
WIDTHS = (4, 5, 3, 6, 2, 8, 7)  # the interesting ones first
MEMBERS = "filter+f-shape+c-shape"
SAVINGS = {"affine": 3.92, "pwlq": 3.86}


def trained(path: Path) -> tuple[Model, dict[str, NDArray[np.float32]]]:
    """YOLOv7 unfolded, and the weights of the file by convolution; missing ones stay random."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if file[name].ndim == 4}
    filters = arrays["model.105.m.0.weight"].shape[0]
    model = build("yolov7", classes=filters // 3 - 5, folded=False)
    weights = {
        node.name: arrays[f"{node.name}.weight"].astype(np.float32)
        for node in model.nodes
        if node.op == "conv" and f"{node.name}.weight" in arrays
    }
    nodes = tuple(
        replace(node, arrays={**node.arrays, "weight": weights[node.name]})
        if node.name in weights
        else node
        for node in model.nodes
    )
    return model.with_nodes(nodes), weights


def measure(path: Path, wanted: tuple[Iterable[Any], ...], threads: int) -> None:
    """Append the rows that docs/quantization.csv does not have yet.

    wanted   (widths, granularities, schemes): every combination is a row
    """
    _, weights = trained(path)
    done = {(row["scheme"], row["granularity"], int(row["bits"])) for row in read(GRID)}
    with ThreadPoolExecutor(threads) as executor:
        for way in product(*wanted):
            bits, granularity, scheme = way
            if (scheme, granularity, bits) in done:
                continue
            start = time.perf_counter()
            row = next(grid(weights, [scheme], [granularity], [bits], map_layers=executor.map))
            assert row.total.within_bound, row
            append(GRID, COLUMNS, [row.to_json()])
            print(
                f"{scheme:22} {granularity:10} {bits} {time.perf_counter() - start:6.1f} s",
                flush=True,
            )


def combine(path: Path) -> None:
    """The three readings of a combination, at 4 bits, against filter level."""
    model, weights = trained(path)
    missing = [n.name for n in model.nodes if n.op == "conv" and n.name not in weights]
    rows = []
    for scheme, saving in SAVINGS.items():
        for granularity in (
            "filter",
            MEMBERS,
            f"{MEMBERS}:budget={saving}",
            f"{MEMBERS}:greedy={saving}",
        ):
            rules = [f"{name} {scheme} filter 4" for name in missing]
            recipe = parse("; ".join([*rules, f"* {scheme} {granularity} 4"]))
            rows.append(combined_row(quantize_model(model, recipe), weights, scheme, granularity))
            print(rows[-1])
    COMBINED.unlink(missing_ok=True)
    append(COMBINED, tuple(rows[0]), rows)


def combined_row(
    model: Model, weights: Mapping[str, NDArray[np.float32]], scheme: str, granularity: str
) -> dict[str, Any]:
    """Savings of the whole network and the groups that give the published one, in two digits;
    members and SQNR of the layers that are trained."""
    sizes = accounting(model)
    tensors = {name: model[name].arrays["weight"] for name in weights}
    total = total_of([audit_layer(name, tensors[name], w) for name, w in weights.items()])
    chosen = [tensor.granularity for tensor in tensors.values()]
    groups = sum(row["groups"] for row in sizes["layers"])
    unit = 4 * find_scheme(scheme).nominal_params(4)
    rest = sizes["bytes"]["nominal"] - unit * groups  # bytes that do not depend on the choice
    fewest, most = (
        (sizes["baseline_unfolded_fp16"] / (SAVINGS[scheme] + half) - rest) / unit
        for half in (0.005, -0.005)
    )
    return {
        "scheme": scheme,
        "granularity": granularity,
        **{member: chosen.count(member) for member in MEMBERS.split("+")},
        "groups": groups,
        "fewest_groups": math.ceil(fewest),
        "most_groups": math.floor(most),
        "sqnr_db": total.sqnr_db,
        "nominal_saving": sizes["ratios"]["nominal"]["fp16"],
        "packed_saving": sizes["ratios"]["packed"]["fp16"],
        "entropy_saving": sizes["ratios"]["entropy"]["fp16"],
    }


def read(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file; none where there is no file."""
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as lines:
            yield from csv.DictReader(lines)


def append(path: Path, columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a CSV file, with a header where it is new."""
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("measure", "combine", "write"))
    parser.add_argument("weights", type=Path, nargs="?")
    parser.add_argument("--scheme", nargs="*", default=SCHEMES, help="what to measure")
    parser.add_argument("--granularity", nargs="*", default=(*GRANULARITIES,))
    parser.add_argument("--bits", nargs="*", type=int, default=WIDTHS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=DOCS / "quantization_measured.md")
    options = parser.parse_args()
    if options.what == "write":
        from bench.quantize.report import write

        files = {"grid": GRID, "combined": COMBINED, "photos": PHOTOS, "speed": SPEED}
        write(files, options.output)
    elif options.weights is None:
        parser.error("give the .npz file with the trained weights")
    elif options.what == "measure":
        wanted = (options.bits, options.granularity, options.scheme)
        measure(options.weights, wanted, options.threads)
    else:
        combine(options.weights)


if __name__ == "__main__":
    main()
