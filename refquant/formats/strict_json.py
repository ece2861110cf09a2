"""JSON from strangers, read in one way only, with exactly the keys and the types expected.

Python's parser accepts more than JSON (NaN, Infinity, 1e999 as inf) and hides some (the last of
two equal keys wins). All of that is refused here, and so is a whole number of over 18 digits.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from refquant.arrays.errors import BadInput


def encode(value: Mapping[str, Any]) -> bytes:
    """The canonical form: ASCII, keys sorted, no blanks. Tuples become lists."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def decode(raw: bytes, where: str) -> dict[str, Any]:
    """The object in `raw`; anything else raises BadInput."""
    try:
        value = json.loads(
            raw.decode("ascii"),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_short,
        )
    except (ValueError, RecursionError) as error:
        raise BadInput(where, f"is not JSON as refquant reads it ({error})") from error
    return typed(value, dict, where)


def record(value: Mapping[str, Any], types: Mapping[str, type], where: str) -> Mapping[str, Any]:
    """`value` itself, if its keys are exactly those of `types`, each with a value of that type."""
    if set(value) != set(types):
        raise BadInput(where, f"has the keys {shown(value)}, not {shown(types)}")
    for key, kind in types.items():
        typed(value[key], kind, f"{where}, {key}")
    return value


def typed(value: Any, kind: type, where: str) -> Any:
    """`value` itself, if it is of exactly that type: True is no whole number here."""
    if type(value) is not kind:
        raise BadInput(where, f"{value!r:.60} is not of type {kind.__name__}")
    return value


def all_typed(values: list[Any], kind: type, where: str) -> tuple[Any, ...]:
    """The list as a tuple, if every element is of that type."""
    return tuple(typed(value, kind, where) for value in values)


def shown(names: Any) -> str:
    """Names for a message: sorted, at most a dozen, each cut to 40 characters."""
    listed = sorted(str(name) for name in names)
    return ", ".join(name[:40] for name in listed[:12]) + (", ..." if len(listed) > 12 else "")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text:.20} is too large")
    return float(text)


def _short(text: str) -> int:
    if len(text) > 18:
        raise ValueError(f"{text:.20}... is too large")
    return int(text)
