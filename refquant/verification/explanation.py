"""What else is said of a wrong node: a usual mistake, or a declaration under which it is right.

An explanation is no verdict: it is sought after one. Its parts are `cause` (a name of
blame/catalogue.py) and `note` (how the tensor was written, or what could have been declared).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import Node
from refquant.verification.blame.catalogue import explain
from refquant.verification.blame.input_causes import explain_input
from refquant.verification.blame.plain import plain_note
from refquant.verification.declared import Declared
from refquant.verification.enclosed import Enclosed
from refquant.verification.node_verdict import verdict_of
from refquant.verification.report import NodeRow
from refquant.verification.verdict import CONSISTENT, THEOREM

Array = NDArray[Any]
# Wrong nodes whose cause is sought: until so many are unknown or have a cause of their own, or in
# all. What a port gets wrong, it mostly gets wrong in every layer of the kind.
MOST_CAUSES, MOST_EXPLAINED = 4, 16
# What is often true but not declared, as the verb's options; narrow types are causes.
UNDECLARED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--flush", {"flush": True}),
    ("--unfolded", {"folded": False}),
    ("--algorithm any", {"algorithm": "any"}),  # by evidence: where nothing else explains it
)
TO_DECLARE = {
    "stored as float16": "--storage float16",
    "stored as bfloat16": "--storage bfloat16",
    "float16 accumulation": "--accumulator float16",
    "bfloat16 accumulation": "--accumulator bfloat16",
}


def worth_it(causes: Sequence[str | None]) -> bool:
    """Whether the cause of one more wrong node is sought, after those."""
    different = causes.count(None) + len(set(causes) - {None})
    return different < MOST_CAUSES and len(causes) < MOST_EXPLAINED


def explanation(
    node: Node,
    inputs: Sequence[Enclosed],
    found: Array,
    golden: NDArray[np.float32],
    declared: Declared,
) -> NodeRow:
    """The cause and the note of a wrong node."""
    note = plain_note(found, golden)
    if note:
        return {"cause": None, "note": note}
    cause = explain(node, inputs, found, declared)
    if cause in TO_DECLARE:
        return {"cause": cause, "note": f"to be declared: {TO_DECLARE[cause]}"}
    options = undeclared(node, inputs, found, declared, cause)
    if not options:
        return {"cause": cause}
    return {"cause": cause, "note": f"consistent where declared: {' or '.join(options)}"}


def undeclared(
    node: Node,
    inputs: Sequence[Enclosed],
    found: Array,
    declared: Declared,
    cause: str | None,
) -> list[str]:
    """The options of UNDECLARED under each of which a wrong node is consistent.

    Bounds that were passed on hold under what was declared, so then nothing can be said.
    """
    if any(x.bound.any() for x in inputs):
        return []
    options: list[str] = []
    for option, change in UNDECLARED:
        wider, by_evidence = declared._replace(**change), "algorithm" in change
        if wider == declared or (by_evidence and (cause or options)):
            continue
        verdict = verdict_of(node, inputs, found, wider)
        if verdict.word == CONSISTENT and (by_evidence or verdict.ground == THEOREM):
            options.append(option)
    return options


def explanation_of_input(found: Array, x: NDArray[np.float32]) -> NodeRow:
    """The cause and the note of a wrong input tensor."""
    return {"cause": explain_input(found, x), "note": plain_note(found, x)}
