"""Names of tensors in a state_dict: their common prefix, and what they say about the network.

    [prefix]L.part        "model.105.m.0.weight": layer 105, part m.0.weight

A prefix is up to four of module., model., ema. and _orig_mod., the same for all names. The parts
of a layer tell its kind; the set of (layer, kind) is the signature by which a file whose
architecture was not named, or named wrongly, can be told which it fits.
"""

import functools
import re
from collections.abc import Iterable

from refquant.arrays.errors import BadInput
from refquant.graph.architecture import ARCHITECTURES, Architecture

NAME = re.compile(
    r"((?:(?:module|model|ema|_orig_mod)\.){0,4})(\d{1,4})\.([\w.]{1,100})", re.ASCII
)
MOST_TENSORS = 2**14  # E6E in training form has about 1,750
MOST_NAMED = 5  # in one message


def canonical(names: Iterable[str]) -> dict[str, str]:
    """ "105.m.0.weight" -> the name in the file; all names must have one prefix in common."""
    found: dict[str, str] = {}
    prefixes = set()
    for name in names:
        match = NAME.fullmatch(name)
        if match is None or len(found) >= MOST_TENSORS:
            raise BadInput("tensors", f"{name[:60]!r} is not the name of a layer's tensor")
        prefixes.add(match[1])
        found[f"{int(match[2])}.{match[3]}"] = name
    if len(prefixes) != 1:
        listed = ", ".join(repr(prefix) for prefix in sorted(prefixes)[:MOST_NAMED])
        raise BadInput("tensors", f"their names have {len(prefixes)} prefixes: {listed}")
    return found


def signature(names: Iterable[str]) -> set[tuple[int, str]]:
    """(layer, what makes its kind known) of each layer that has tensors."""
    found: dict[int, str] = {}
    for name in names:
        index, part = int(name.split(".", 1)[0]), name.split(".", 1)[1]
        found.setdefault(index, "Conv")
        for sign, kind in (("rbr_", "RepConv"), ("cv", "DownC"), ("m.", "Detect")):
            if part.startswith(sign) and found[index] != "SPPCSPC":
                found[index] = kind
        if part.startswith("cv7"):
            found[index] = "SPPCSPC"
    return set(found.items())


def hint(names: Iterable[str]) -> str:
    """Which architectures have layers with tensors where these names have them."""
    found = signature(names)
    fitting = [
        architecture.name
        for architecture in ARCHITECTURES.values()
        for auxiliary in (False, True)
        if found == with_tensors(architecture, auxiliary)
    ]
    if not fitting:
        return f"it looks like none of {' | '.join(ARCHITECTURES)}"
    return f"it looks like {' or '.join(dict.fromkeys(fitting))}"


@functools.cache  # one entry per architecture and form
def with_tensors(architecture: Architecture, auxiliary: bool) -> frozenset[tuple[int, str]]:
    """The signature of a table's rows."""
    kinds = ("Conv", "RepConv", "SPPCSPC", "DownC", "Detect")
    rows = enumerate(architecture.rows(auxiliary))
    return frozenset((i, row.kind) for i, row in rows if row.kind in kinds)
