"""Is another implementation right? Every tensor that it gives is judged against the golden.

    verify(golden, other) -> Report(verdict, hypotheses, first_wrong, cause, rows)

A row per node of the golden:
    given           its tensor was found (mapping.py): judged by judge.py, locally if its inputs
                    were given too, otherwise over the segment back to the nearest given ones
    missing         no tensor; covered if a later given one was recomputed through it
An input tensor that is missing is the golden's (H6); one that is given must equal it, up to the
declared storage. For what only evidence can decide, evidence.py compares the deviation from the
golden with that of legitimate variants.

    wrong           a row is wrong                                                          (1)
    implausible     else, if a row is implausible                                           (2)
    undecided       else, if a row is undecided, or a node is neither given nor covered     (3)
    consistent      otherwise                                                               (4)

job.py makes the rows.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.engine.walk import check_input
from refquant.formats.hdf5.content_hash import content_sha256
from refquant.formats.hdf5.node_json import group_of
from refquant.graph.graph import INPUT, Model
from refquant.graph.shapes import predictions_of, shapes_of
from refquant.verification.declared import Declared
from refquant.verification.evidence import weigh
from refquant.verification.golden.file import Golden, open_golden
from refquant.verification.job import Job, Row
from refquant.verification.judge import CONSISTENT, IMPLAUSIBLE, UNDECIDED, WRONG
from refquant.verification.mapping import Match, Wanted, match_all
from refquant.verification.tensors.files import tensors_of
from refquant.verification.tensors.tensor import Tensor
from refquant.verification.variants import VARIANTS


@dataclass(frozen=True)
class Report:
    """The verdict over all rows; `rows` are plain data, one per node."""

    verdict: str
    hypotheses: Mapping[str, str]
    first_wrong: str | None
    cause: str | None
    rows: Sequence[Row]
    unused: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """The object of `refquant verify --json`."""
        names = ("verdict", "hypotheses", "first_wrong", "cause")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "nodes": list(self.rows), "unused_tensors": list(self.unused)}


def verify(
    golden: str | os.PathLike[str],
    other: str | os.PathLike[str],
    *,
    model: Model | None = None,
    declared: Declared = Declared(),  # noqa: B008 (a NamedTuple does not change)
    mapping: Mapping[str, str] | None = None,
    layout: str = "auto",
    only: Sequence[str] = ("*",),
    variants: int = VARIANTS,
    blame: bool = True,
) -> Report:
    """Judge OTHER against a golden file; see the file's docstring.

    model     where the golden holds none; its content must be the golden's
    only      patterns of node names: others are neither judged nor missed, but their tensors are
              taken as the inputs that they are
    variants  forward passes for evidence, 0 for none
    """
    declared.checked()  # before anything is run
    with open_golden(Path(golden)) as opened:
        checked = model_for(opened, model)
        x = opened.output(INPUT)
        nodes = wanted(opened, checked)
        check_shapes(opened, checked, x)
        tensors = tensors_of(Path(other), x)
        chosen = {node.name for node in nodes if chosen_by(only, node.name)}
        matches = matches_of(nodes, tensors, mapping, layout, chosen)
        if not set(matches) & chosen - {INPUT}:
            remedy = "give outputs, a model's by refquant golden MODEL IMAGE, or see --map"
            raise BadInput(other, "no tensor is a node's", remedy)
        job = Job(opened, checked, x, matches, declared, chosen)
        rows = list(job.rows(blame))
        if variants and any(row["verdict"] == UNDECIDED for row in rows):
            weigh(rows, checked, x, job.outputs, declared, variants)
    used = {match.tensor.name for match in matches.values()}
    return report(rows, declared, [t.name for t in tensors if t.name not in used])


def matches_of(
    nodes: Sequence[Wanted],
    tensors: Sequence[Tensor],
    mapping: Mapping[str, str] | None,
    layout: str,
    chosen: Collection[str],
) -> dict[str, Match]:
    """The tensors of all nodes; if none is a chosen one's, of those alone, by their order."""
    matches = match_all(nodes, tensors, mapping, layout)
    if mapping or set(matches) & set(chosen) - {INPUT}:
        return matches
    few = [node for node in nodes if node.name in chosen or node.name == INPUT]
    return match_all(few, tensors, None, layout)


def chosen_by(patterns: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def model_for(golden: Golden, model: Model | None) -> Model:
    """The model of the golden, wherever it comes from: its content must be the golden's."""
    model = golden.model() if model is None else model
    groups = {node.name: group_of(node, index) for index, node in enumerate(model.nodes)}
    actual, expected = content_sha256(groups), golden.root["model"]["content_sha256"]
    if actual != expected:
        problem = f"is of a model with content {expected:.12}..., this one has {actual:.12}..."
        raise BadInput(golden.path, problem, "name the one that it was made of with --model")
    return model


def wanted(golden: Golden, model: Model) -> list[Wanted]:
    """The input and every node, as mapping.py asks for them."""
    nodes = {node.name: node for node in model.nodes}
    if set(nodes) | {INPUT} != set(golden.records):
        raise BadInput(golden.path, "its nodes are not those of its model", "make it again")
    return [
        Wanted(
            name,
            record.op,
            name in nodes and nodes[name].attributes.get("activation", "linear") != "linear",
            record.shape,
        )
        for name, record in golden.records.items()
    ]


def check_shapes(golden: Golden, model: Model, x: NDArray[np.float32]) -> None:
    """Refuse a golden whose records have other shapes than its model gives for its input x."""
    try:
        check_input(model, x)
    except BadInput as error:
        raise BadInput(golden.path, str(error), "make it again") from None
    N, C, H, W = x.shape
    maps = shapes_of(model.nodes, (C, H, W))
    shapes: dict[str, tuple[int, ...]] = {name: (N, *shape) for name, shape in maps.items()}
    for node in model.nodes:
        if node.op == "decode":
            shapes[node.name] = (N, *predictions_of(node, [maps[n] for n in node.inputs]))
    for name, record in golden.records.items():
        if record.shape != shapes[name]:
            problem = f"{name:.80} has shape {record.shape}, its model gives {shapes[name]}"
            raise BadInput(golden.path, problem, "make it again")


def report(rows: list[Row], declared: Declared, unused: list[str]) -> Report:
    """Rules (1) to (4)."""
    verdicts = {row["verdict"] for row in rows}
    overall = next((v for v in (WRONG, IMPLAUSIBLE, UNDECIDED) if v in verdicts), CONSISTENT)
    if verdicts <= {None}:
        overall = UNDECIDED
    wrong = next((row for row in rows if row["verdict"] == WRONG), None)
    first = wrong["node"] if wrong else None
    cause = wrong.get("cause") if wrong else None
    return Report(overall, declared.hypotheses(), first, cause, rows, unused)
