"""The report of a study: what results.json says, in words, tables and plots.

    report(results) -> Document          every number in it is taken from the results
    write_report(results, folder)        report.html, report.md, results.json, results.csv, plots/

Losses are printed as the paper prints them, positive where AP is lost, in points of AP; a
configuration is called better or worse than another only where the paired interval says so.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

from refquant.arrays.errors import BadInput
from refquant.detection.score import NUMBERS
from refquant.drawing.svg import Drawing, write_svg
from refquant.study.claims import NOT, NOT_COMPARED, OPEN, REPRODUCED
from refquant.study.report.document import Block, Cards, Document, Figure, Heading, markdown
from refquant.study.report.findings import findings
from refquant.study.report.page import html
from refquant.study.report.plots import plots
from refquant.study.report.tables import (
    claims_table,
    comparisons_table,
    configurations_table,
    images_table,
    method,
)
from refquant.study.store import write_text
from refquant.study.wording import Results, Row, number, plural

CAPTIONS = {
    "losses": "All configurations, the smallest loss first. Where the line of one crosses zero,"
    " these images do not tell it from float32.",
    "ap_stored": "This is what is paid in bits that are really stored, with the parameters and"
    " PWLQ's region bit. The steps are the Pareto front; the lines through its members are 95%"
    " intervals of the difference to float32.",
    "ap_nominal": "This is the same in nominal bits, the paper's way of counting: PWLQ's region"
    " bit is free here, which moves all of its markers to the left.",
    "heat_map": "A cell is a granularity with a scheme. The stronger its colour, the larger its"
    " loss.",
    "sqnr": "How well do the weights of each layer survive? The measure is the ratio of signal to"
    " quantization noise.",
    "predicted": "Does the error of the weights alone tell what AP will do?",
}


def report(results: Results) -> Document:
    """The document; its order is that of a reader in a hurry."""
    model, data = results["model"], results["data"]
    rows = results["configurations"]
    done = [row for row in rows if row["AP"] is not None]
    drawings = plots(results)
    subtitle = (
        f"{plural(len(rows) - 1, 'way')} to store the weights of {model['name']}"
        f" ({number(model['parameters'] / 1e6)} M parameters), judged by COCO AP on"
        f" {plural(data['images'], 'image')} of {data['name']}"
    )
    if len(done) < len(rows):
        subtitle += f"; {len(done)} of {len(rows)} configurations are evaluated so far"
    blocks: list[Block] = [cards(results), *findings(results)]
    blocks += [Heading("The paper's claims"), *claims_table(results)]
    for title, names in (
        ("What is lost", ("losses", "heat_map")),
        ("What the bits buy", ("ap_stored", "ap_nominal")),
        ("Errors of the weights", ("sqnr", "predicted")),
    ):
        figures = [figure(d) for name in names for d in drawings if d.name.startswith(name)]
        blocks += [Heading(title), *figures] if figures else []
    blocks += [Heading("All configurations"), *configurations_table(results)]
    blocks += [Heading("Compared in pairs"), *comparisons_table(results)]
    blocks += [Heading("How many images?"), *images_table(results)]
    blocks += [Heading("How it was measured"), *method(results)]
    return Document(f"Quantizing {model['name']}", subtitle, blocks)


def figure(drawing: Drawing) -> Figure:
    return Figure(drawing, next(CAPTIONS[k] for k in CAPTIONS if drawing.name.startswith(k)))


def cards(results: Results) -> Cards:
    """The numbers to be seen first."""
    rows = results["configurations"]
    ap = rows[0]["AP"]
    claims = [claim for claim in results["claims"] if claim["published"] != NOT_COMPARED]
    verdicts = [claim["verdict"] for claim in claims]
    counts = [verdicts.count(verdict) for verdict in (REPRODUCED, NOT, OPEN)]
    return Cards(
        [
            (f"{number(None if ap is None else 100 * ap)}%", "AP of the float32 model"),
            (f"{len(rows) - 1}", "configurations"),
            (f"{results['data']['images']:,}", "images"),
            (
                f"{counts[0]} of {len(verdicts)}",
                f"claims reproduced, {counts[1]} not, {counts[2]} open",
            ),
        ]
    )


def write_report(results: Results, folder: Path) -> None:
    """Write the files that a study leaves behind for its readers."""
    document = report(results)
    drawings = [block.drawing for block in document.blocks if isinstance(block, Figure)]
    try:
        (folder / "plots").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(folder, f"cannot be written ({error.strerror})") from error
    write_text(folder / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    write_text(folder / "results.csv", table_text(results))
    write_text(folder / "report.html", html(document))
    write_text(folder / "report.md", markdown(document))
    write_svg(drawings, folder / "plots")


def table_text(results: Results) -> str:
    """results.csv: a line per configuration, its nested values joined by dots."""
    lines = [flat(row) for row in results["configurations"]]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(lines[-1]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def flat(row: Row) -> dict[str, Any]:
    """The columns of results.csv."""
    columns = {name: row[name] for name in ("name", "scheme", "granularity", "bits", "code_bits")}
    columns |= {name: row[name] for name in (*NUMBERS, "groups", "predicted_db")}
    loss = row["loss"] or {}
    for key in ("points", "low", "high", "percent", "verdict", "images_for_one_point"):
        columns[f"loss.{key}"] = loss.get(key)
    columns |= {f"bytes.{way}": row["bytes"][way] for way in row["bytes"]}
    for way, ratio in row["ratios"].items():
        columns[f"ratio.{way}.fp16"] = ratio and ratio["fp16"]
    return columns | {f"bits.{way}": row["bits_per_weight"][way] for way in row["bits_per_weight"]}
