"""Rows of a CSV file: what the pages of quantization are made of."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read(path: Path) -> Iterable[Row]:
    """Rows with numbers as numbers."""
    with path.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            yield {key: number(value) for key, value in row.items()}


def number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def stored(row: Row) -> float:
    """Stored bits per weight."""
    return 8 * row["packed"] / row["weights"]


def find(rows: Sequence[Row], **wanted: Any) -> Row | None:
    """The row with these values."""
    return next((r for r in rows if all(r[k] == v for k, v in wanted.items())), None)
