"""Rows of an audit as a text table, as JSON and as CSV."""

import argparse
import math
from pathlib import Path
from typing import Any

from refquant.cli.common import print_json, say, table


def report(
    options: argparse.Namespace,
    result: Any,
    rows: list[Any],
    columns: tuple[str, ...],
    most: int | None = None,
    in_csv: list[Any] | None = None,
) -> None:
    """JSON or a text table of at most so many rows on stdout; CSV where asked for.

    in_csv   rows of the CSV file, if they are others than those of the table
    """
    if options.csv:
        write_csv(rows if in_csv is None else in_csv, options.csv)
    if options.json:
        print_json(without_infinities(result))
        return
    shown = rows[:most]
    say(table([[cell(row.get(key)) for key in columns] for row in shown], columns))
    if len(shown) < len(rows):
        say(f"... and {len(rows) - len(shown)} more: --json or --csv has all")


def write_csv(rows: list[Any], path: Path) -> None:
    """All columns of all rows; nested values as JSON."""
    import csv
    import json

    from refquant.arrays.atomic import atomic_path

    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns)
        writer.writeheader()
        for row in rows:
            plain = {
                k: json.dumps(v) if isinstance(v, dict | list | tuple) else v
                for k, v in row.items()
            }
            writer.writerow(plain)


def without_infinities(value: Any) -> Any:
    """The value with None for numbers that JSON cannot say."""
    if isinstance(value, dict):
        return {key: without_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_infinities(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cell(value: Any) -> str:
    """A number short enough for a table."""
    if value is None or value == "" or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(item)}" for key, item in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def text_of(facts: dict[str, Any]) -> str:
    """A line per fact."""
    return "\n".join(f"{key:16} {cell(value)}" for key, value in facts.items())
