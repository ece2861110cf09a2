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
from refquant.graph.blocks import BLOCKS

NAME = re.compile(
    r"((?:(?:module|model|ema|_orig_mod)\.){0,4})(\d{1,4})\.([\w.]{1,100})", re.ASCII
)
MOST_TENSORS = 2**14  # E6E in training form has about 1,750
MOST_NAMED = 5  # in one message
# How some name of a layer's tensor begins -> the layer's kind.
SIGNS = {block.sign: kind for kind, block in BLOCKS.items() if block.sign} | {"m.": "Detect"}


def canonical(names: Iterable[str]) -> dict[str, str]:
    """Names such as "105.m.0.weight" -> those in the file, which must all have one prefix."""
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
        told = [sign for sign in SIGNS if part.startswith(sign)]
        found[index] = max((found.get(index, ""), *told), key=len)  # "cv7." tells more than "cv"
    return {(index, SIGNS.get(sign, "Conv")) for index, sign in found.items()}


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
    rows = enumerate(architecture.rows(auxiliary))
    return frozenset((i, row.kind) for i, row in rows if row.kind in SIGNS.values())
