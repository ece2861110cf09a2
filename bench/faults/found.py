"""Are faults found, at the right node, and is their cause named rightly?

    python -m bench.faults.found MODEL ... --photos PHOTO ... [--sizes N ...] [--layers N]

writes found.md. The i-th model runs for the i-th photo (in turns), letterboxed to the i-th number
of pixels (in turns). It is exported to ONNX, folded, unfolded (where the file has it so) and with
4-bit weights, and one fault at a time is put into the graph (catalogue.py), at up to N nodes per
kind and model, drawn anew for each model. onnxruntime runs it; the faulty node and all that read
it are judged, at the first fault of a kind every node. Verified first: without a fault no node is
wrong. Per kind:

    right node   share in which the faulty node is wrong and no other one is                (1)
    right cause  of those, share with the cause that the fault has                          (2)
    false cause  of those, share with another one; the rest is "unknown"                    (3)

Faults that do not change the node's tensor by a bit are left out. What is no usual mistake must
stay unknown: a cause named for it is a false one. The fresh list (fresh.py) was made apart from
the catalogue. Small faults (small.py) are found (wrong), undecided or missed (consistent); faults
of a quantizer: codes.py.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx

from bench.faults.catalogue import FAULTS, FOLDED, QUANTIZED, UNFOLDED, Fault
from bench.faults.codes import code_lines
from bench.faults.small import small_lines
from bench.runtimes import onnxruntime_outputs
from bench.verdicts.other_arithmetic import folded_names
from refquant.formats.catalogue import load_model
from refquant.formats.onnx.export import onnx_model
from refquant.graph.graph import INPUT, Model, Node
from refquant.quant.recipe import quantize_model, uniform
from refquant.verification.blame.catalogue import explain
from refquant.verification.bounds import enclose
from refquant.verification.declared import Declared
from refquant.verification.enclosed import given
from refquant.verification.golden.file import open_golden
from refquant.verification.golden.record import record_golden
from refquant.verification.verdict import judge

TABLE = Path(__file__).with_suffix(".md")
Arrays = dict[str, np.ndarray]
HEAD = "| fault | graph | tried | right node | right cause | false cause | unknown |"


class Subject(NamedTuple):
    """A model, its ONNX graph, and the tensor that each of its nodes has there."""

    form: str
    model: Model
    graph: Any
    tensors: Mapping[str, str]
    declared: Declared
    x: np.ndarray
    clean: Arrays


def subjects(path: str, photo: str, size: int) -> Iterator[Subject]:
    """The three forms of a model."""
    model = load_model(path)
    with tempfile.TemporaryDirectory() as folder:
        record_golden(model, photo, Path(folder) / "g.h5", size=size, keep=())
        with open_golden(Path(folder) / "g.h5") as golden:
            x = golden.output(INPUT)
    own = {node.name: node.name for node in model.nodes}
    yield subject(FOLDED, model, onnx_model(model, x.shape), own, x)
    narrow = quantize_model(model, uniform("affine", "filter", 4))
    yield subject(QUANTIZED, narrow, onnx_model(narrow, x.shape), own, x)
    unfolded = load_model(path, fold=False)
    if not unfolded.folded:
        yield subject(
            UNFOLDED, model, onnx_model(unfolded, x.shape), folded_names(model, unfolded), x
        )


def subject(
    form: str, model: Model, graph: Any, tensors: Mapping[str, str], x: np.ndarray
) -> Subject:
    """The subject, checked: without a fault no node is wrong."""
    declared = Declared(folded=form != UNFOLDED)
    made = Subject(form, model, graph, tensors, declared, x, {})
    made.clean.update(outputs_of(made, graph, [node.name for node in model.nodes]))
    wrong = [node.name for node in model.nodes if verdict_of(made, node, made.clean) == "wrong"]
    assert not wrong, f"without a fault these are wrong: {wrong}"
    return made


def outputs_of(subject: Subject, graph: Any, names: Sequence[str]) -> Arrays:
    """The outputs of those nodes, and the input."""
    theirs = [subject.tensors[name] for name in names]
    found = onnxruntime_outputs(graph, subject.x, theirs)
    return {INPUT: subject.x, **{name: found[subject.tensors[name]] for name in names}}


def verdict_of(subject: Subject, node: Node, arrays: Arrays) -> str:
    """The judgement of one node from its own inputs."""
    inputs = [given(arrays[name]) for name in node.inputs]
    return judge(arrays[node.name], enclose(node, inputs, subject.declared), True).word


def trial(subject: Subject, node: Node, fault: Fault, whole: bool) -> tuple[bool, Any] | None:
    """(whether just this node is wrong, the cause); None where the fault does nothing here."""
    faulty = onnx.ModelProto()
    faulty.CopyFrom(subject.graph)
    if not fault.change(faulty.graph, subject.tensors[node.name]):
        return None
    nodes = subject.model.nodes
    chosen = nodes if whole else [n for n in nodes if node.name in (n.name, *n.inputs)]
    names = sorted({name for n in chosen for name in (n.name, *n.inputs)} - {INPUT})
    try:
        found = outputs_of(subject, faulty, names)
    except Exception as error:  # a graph that onnxruntime refuses is no test of ours
        print(f"  {fault.kind} at {node.name}: {error!s:.100}", file=sys.stderr)
        return None
    if found[node.name].shape != subject.clean[node.name].shape:
        return None
    if np.array_equal(found[node.name], subject.clean[node.name]):
        return None
    wrong = [n.name for n in chosen if verdict_of(subject, n, found) == "wrong"]
    if wrong != [node.name]:
        print(f"  {fault.kind} at {node.name}: wrong are {wrong}", file=sys.stderr)
        return False, None
    inputs = [given(found[name]) for name in node.inputs]
    return True, explain(node, inputs, found[node.name], subject.declared)


def count_trials(
    subject: Subject, fault: Fault, layers: int, seed: int, count: Counter[str]
) -> None:
    """Up to `layers` trials of a kind, counted."""
    tried = 0
    for i in np.random.default_rng(seed).permutation(len(subject.model.nodes)):
        if tried == layers:
            return
        node = subject.model.nodes[i]
        result = trial(subject, node, fault, tried == 0)
        if result is None:
            continue
        tried += 1
        count["tried"] += 1
        count["node"] += result[0]
        if not result[0]:
            continue
        named = result[1]
        key = "right" if named and named == fault.cause else "unknown" if not named else "false"
        count[key] += 1
        if named != fault.cause:
            print(f"  {fault.kind} at {node.name}: {named}", file=sys.stderr)


def line(kind: str, form: str, count: Counter[str]) -> str:
    """A line of the table."""
    n, at_node = count["tried"], count["node"]
    shares = [f"{100 * count['node'] / n:.1f} %"] if n else ["-"]
    for key in ("right", "false", "unknown"):
        shares.append(f"{100 * count[key] / at_node:.1f} %" if at_node else "-")
    return f"| {kind} | {form} | {n} | {' | '.join(shares)} |"


def structural_lines(counts: Mapping[Fault, Counter[str]]) -> Iterator[str]:
    """Usual mistakes with their total, those that are none, and the fresh list."""
    for title, chosen in (
        ("Usual mistakes", lambda f: f.cause is not None and not f.fresh),
        ("No usual mistake", lambda f: f.cause is None and not f.fresh),
        ("A fresh list", lambda f: f.fresh),
    ):
        yield f"\n## {title}\n\n{HEAD}\n|---|---|---|---|---|---|---|"
        total: Counter[str] = Counter()
        for fault, count in counts.items():
            if chosen(fault):
                total += count
                yield line(fault.kind, fault.form, count)
        yield line("**all**", "", total)


class Result:
    """What has been counted so far, and the table of it."""

    def __init__(self, layers: int) -> None:
        self.layers = layers
        self.subjects: list[str] = []
        self.counts: dict[Fault, Counter[str]] = {fault: Counter() for fault in FAULTS}
        self.small: dict[str, Counter[str]] = {}
        self.codes: list[str] = []

    def add(self, subject: Subject, name: str) -> None:
        """All faults of a subject."""
        for fault in FAULTS:
            if fault.form == subject.form:
                seed = len(self.subjects)
                count_trials(subject, fault, self.layers, seed, self.counts[fault])
        if subject.form == FOLDED:
            small_lines(subject, self.layers, self.small)
        self.subjects.append(f"{name}, {subject.form}")

    def write(self) -> None:
        head = (
            "# Faults, found and named\n\nWritten by `python -m bench.faults.found`; see its "
            f"docstring. Up to {self.layers} layers per kind and graph. Graphs, photos and the "
            f"longer side of the input in pixels: {'; '.join(self.subjects)}.\n"
        )
        lines = [head, *structural_lines(self.counts), "\n## Small faults\n"]
        lines += ["| fault | tried | found | undecided | missed |\n|---|---|---|---|---|"]
        for kind, count in self.small.items():
            n = sum(count.values())
            verdicts = ("wrong", "undecided", "consistent")
            shares = [f"{100 * count[key] / n:.0f} %" for key in verdicts]
            lines.append(f"| {kind} | {n} | {' | '.join(shares)} |")
        lines += ["\n## Faults of a quantizer\n", *self.codes]
        TABLE.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--photos", nargs="+", required=True)
    parser.add_argument("--sizes", nargs="+", type=int, default=[256])
    parser.add_argument("--layers", type=int, default=6)
    options = parser.parse_args()
    result = Result(options.layers)
    for i, path in enumerate(options.models):
        photo = options.photos[i % len(options.photos)]
        size = options.sizes[i % len(options.sizes)]
        for subject in subjects(path, photo, size):
            if subject.form == QUANTIZED and not result.codes:
                result.codes = list(code_lines(load_model(path), subject.model))
            result.add(subject, f"{Path(path).name} ({Path(photo).name}, {size})")
            print(f"{result.subjects[-1]}: done", file=sys.stderr)
            result.write()


if __name__ == "__main__":
    main()
