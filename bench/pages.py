"""A table in Markdown: what the pages of measurements are made with."""

from collections.abc import Iterable, Sequence
from typing import Any


def table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    text = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in text)
