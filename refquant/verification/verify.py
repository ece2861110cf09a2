"""Is another implementation right? Every tensor that it gives is judged against the golden.

    verify(golden, other) -> Report(verdict, hypotheses, first_wrong, cause, rows)

A row per node of the golden:
    given           its tensor was found (mapping.py): it is judged locally if its inputs were
                    given too, otherwise over the segment back to the nearest given ones
    missing         no tensor; covered if a later given one was recomputed through it
An input tensor that is missing is the golden's (H6); one that is given must equal it, up to the
declared storage. What only evidence can decide is compared with legitimate variants (evidence.py).

rows.py makes the rows; verdict.py has every rule by which a row and the whole get their verdict.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.engine.walk import check_input
from refquant.formats.hdf5.content_hash import content_sha256
from refquant.formats.hdf5.node_json import group_of
from refquant.graph.graph import INPUT, Model
from refquant.graph.shapes import predictions_of, shapes_of
from refquant.verification.blame.far_causes import with_far_cause
from refquant.verification.declared import Declared
from refquant.verification.evidence import weighed
from refquant.verification.golden.file import Golden, open_golden
from refquant.verification.mapping import Match, Wanted, match_all
from refquant.verification.report import NodeRow, Report
from refquant.verification.rows import Verification
from refquant.verification.tensors.files import tensors_of
from refquant.verification.tensors.tensor import Tensor
from refquant.verification.variants import VARIANTS
from refquant.verification.verdict import IMPLAUSIBLE, WRONG, Verdict, of_whole


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
    """Judge another implementation against a golden file.

    Every tensor that it gives is recomputed from its own inputs in float64 and compared with an
    a-priori bound, so an early mistake does not accuse later nodes.

    Parameters
    ----------
    golden : path
        A file that `record_golden` wrote, in HDF5.
    other : path
        The tensors of the other side: an `.npz`, HDF5, `.npy`, a folder of `.npy`, or an `.onnx`,
        which is run in onnxruntime. Floats of 16, 32 or 64 bits.
    model : Model, optional
        The model of the golden where that holds none; its content must be the golden's.
    declared : Declared, optional
        The arithmetic that the other side declares; by default float32 sums of the folded network.
    mapping : mapping of str to str, optional
        Their names by ours, ``{"model.0.conv": "their name"}``; by default names are found.
    layout : str, default "auto"
        The axes of their tensors: NCHW, NHWC or NAHWE of maps, NRE or NER of predictions.
    only : sequence of str, default ("*",)
        Patterns of node names. Others are neither judged nor missed, but their tensors are taken
        as the inputs that they are.
    variants : int, default 32
        Forward passes for evidence, 0 for none.
    blame : bool, default True
        Whether the usual mistake behind a wrong node is sought.

    Returns
    -------
    Report
        The verdict, what decided it, and a row for each node.

    Raises
    ------
    BadInput
        A file is damaged or not of its kind, a name is unknown, or no tensor is a node's.

    See Also
    --------
    record_golden : Write the golden file.

    Notes
    -----
    A node is wrong where ``|y^ - value| > bound`` for an element of its tensor y^. Under the
    hypotheses of the report that is a theorem [1]_; all rules are in
    `refquant.verification.verdict`.

    References
    ----------
    .. [1] C.-P. Jeannerod and S. M. Rump, "Improved error bounds for inner products in
       floating-point arithmetic", SIAM J. Matrix Anal. Appl. 34(2), 2013.

    Examples
    --------
    A port that forgets the bias of one of the three heads:

    >>> import tempfile
    >>> import numpy as np
    >>> import refquant
    >>> model = refquant.load_model("demo")
    >>> x = np.arange(3 * 64 * 64, dtype=np.float32).reshape(1, 3, 64, 64) / 12288
    >>> theirs = {node.name: y for node, y in refquant.walk(model, x)}
    >>> bias = model["model.105.m.0"].arrays["bias"]
    >>> theirs["model.105.m.0"] = theirs["model.105.m.0"] - bias[:, None, None]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     golden, other = f"{folder}/golden.h5", f"{folder}/theirs.npz"
    ...     content = refquant.record_golden(model, x, golden)
    ...     np.savez(other, **theirs)
    ...     report = refquant.verify(golden, other, only=["model.105.m.*"])
    >>> report.verdict, report.decided_by, report.first_wrong, report.cause
    ('wrong', 'theorem', 'model.105.m.0', 'bias missing')
    >>> [row["verdict"] for row in report.rows]
    ['wrong', 'consistent', 'consistent']
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
        verification = Verification(opened, checked, x, matches, declared, chosen, variants)
        rows = list(verification.rows(blame))
        if variants:
            rows = weighed(rows, checked, x, verification.outputs, declared, variants)
        if variants and blame:
            rows = with_far_cause(rows, checked, x, verification.tensor, declared)
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


def report(rows: Sequence[NodeRow], declared: Declared, unused: Sequence[str]) -> Report:
    """The whole of the rows."""
    word, ground = of_whole([Verdict(row["verdict"], row["decided_by"]) for row in rows])
    wrong = [row for row in rows if row["verdict"] == WRONG]
    first = wrong[0]["node"] if wrong else None
    far = [row for row in rows if row["verdict"] == IMPLAUSIBLE and row.get("cause")]
    cause = next((row.get("cause") for row in wrong or far), None)
    return Report(word, declared.hypotheses(), first, cause, rows, unused, ground)
