"""`refquant verify q.h5 codes.npz --codes ORIGINAL`: the codes of another quantizer."""

import argparse
from typing import Any

from refquant.cli.common import print_json, say, table
from refquant.formats.catalogue import load_model
from refquant.verification.codes import NOT_GIVEN, compare_codes
from refquant.verification.tensors.files import integers_of
from refquant.verification.verdict import CONSISTENT, WRONG, of_codes


def verdict_of_codes(options: argparse.Namespace) -> str:
    """Compare the codes and scales, print what was found, and return the verdict."""
    rows = compare_codes(
        load_model(options.golden), load_model(options.codes), integers_of(options.other)
    )
    verdict, ground = of_codes(row["verdict"] for row in rows)
    wrong = next((row for row in rows if row["verdict"] == WRONG), None)
    first, cause = (wrong["node"], wrong["explanation"]) if wrong else (None, None)
    if options.json:
        found = {"verdict": verdict, "decided_by": ground, "first_wrong": first, "cause": cause}
        print_json({**found, "hypotheses": {}, "nodes": rows})
    else:
        show_codes(rows, options.all)
        say(f"\n{verdict}" + (f": {first}" if first else ""))
    return verdict


def show_codes(rows: list[dict[str, Any]], every: bool) -> None:
    """The layers that were given, or all."""
    keys = ("node", "codes", "differ", "largest", "scales", "explanation")
    given = [row for row in rows if every or row["explanation"] != NOT_GIVEN]
    header = ("layer", *keys[1:])
    say(table([[text_of(row, key) for key in keys] for row in given], header))
    if len(given) < len(rows):
        say(f"\n{len(rows) - len(given)} layers not given")


def text_of(row: dict[str, Any], key: str) -> str:
    """A cell; an explanation that is a convention says so."""
    conventional = key == "explanation" and row["verdict"] == CONSISTENT and row.get("ties")
    return f"{row[key]} (at exact ties only)" if conventional else str(row.get(key, "-"))
