"""Numbers as words: one way to print a number, an interval, a name, in report and plots."""

import math
from collections.abc import Mapping
from typing import Any

from refquant.study.configurations import MEMBERS

Results = Mapping[str, Any]  # what results.json holds (results.py)
Row = Mapping[str, Any]  # one of its configurations, or a difference of two

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
MOST_PLACES = 6


def number(value: float | None, places: int = 1, *, sign: bool = False) -> str:
    """A number with so many decimals and a true minus; never a minus before zeros alone."""
    if value is None:
        return NONE
    text = f"{abs(value):,.{places}f}"
    if value < 0 and text.strip("0.,"):
        return MINUS + text
    return f"+{text}" if sign and text.strip("0.,") else text


def interval(low: float, high: float, places: int = 1, *, sign: bool = True) -> str:
    """An interval, such as "[-1.2, +0.3]"."""
    return f"[{number(low, places, sign=sign)}, {number(high, places, sign=sign)}]"


def with_interval(difference: Row, places: int = 1) -> str:
    """A difference in points of AP, such as "-0.4 [-1.2, +0.3]"."""
    span = interval(difference["low"], difference["high"], places)
    return f"{number(difference['points'], places, sign=True)} {span}"


def places_of(difference: Row) -> int:
    """Decimals for a difference and its interval: two, more where two would print only zeros."""
    points = abs(difference["points"])
    places = 2 if points == 0 else max(2, -math.floor(math.log10(points)))
    return min(places, MOST_PLACES)


def loss_of(row: Row) -> str:
    """A configuration's loss, a positive number: "3.1 points [2.2, 4.0]"."""
    loss = row["loss"]
    span = interval(-loss["high"], -loss["low"], sign=False)
    return f"{number(-loss['points'])} points {span}"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{number(value)}%"


def short(row: Row) -> str:
    """A configuration's name, short enough for a plot or a table."""
    if not row["scheme"]:
        return str(row["name"])
    granularity, _, reading = (
        str(row["granularity"]).replace(MEMBERS, "combination").partition(":")
    )
    how, _, saving = reading.partition("=")
    suffix = f" ({how} {float(saving):.2f}x)" if saving else ""
    return f"{row['scheme']} {granularity} {row['bits']}{suffix}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
