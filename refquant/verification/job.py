"""One verification: the rows of a report, node after node, in the order of the graph.

For each node: its inputs as the other side gave them, or recomputed with their bounds where it
did not; the exact value and its bound (bounds.py); the judgement (judge.py); for a wrong node its
worst element, a picture and the likely cause. One node is in memory at a time, with the tensors
that it takes; recomputed ones stay until they were last used.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.engine.walk import walk
from refquant.graph.graph import INPUT, Model, Node
from refquant.verification.bounds import enclose
from refquant.verification.declared import UNDERFLOW, Declared
from refquant.verification.deviation import deviation
from refquant.verification.enclosed import Enclosed, given
from refquant.verification.golden.file import Golden, digest
from refquant.verification.judge import CONSISTENT, UNDECIDED, WRONG, judge
from refquant.verification.mapping import Match, read
from refquant.verification.worst import MOST, picture, where_wrong, worst_element

Row = dict[str, Any]
Array = NDArray[Any]
# Wrong nodes whose cause is sought: until so many are unknown or have a cause of their own, or in
# all. What a port gets wrong, it mostly gets wrong in every layer of the kind.
MOST_CAUSES, MOST_EXPLAINED = 4, 16
# What is often true but not declared, as the verb's options; types are causes (type_causes.py).
UNDECLARED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--flush", {"flush": True}),
    ("--unfolded", {"folded": False}),
    ("--algorithm any", {"algorithm": "any"}),
)


class Job:
    """One verification: goes through the nodes in order and holds what later ones need."""

    def __init__(
        self,
        golden: Golden,
        model: Model,
        x: NDArray[np.float32],
        matches: Mapping[str, Match],
        declared: Declared,
        chosen: Collection[str],
    ) -> None:
        self.golden, self.model, self.x = golden, model, x
        self.matches, self.declared, self.chosen = matches, declared, chosen
        self.recomputed: dict[str, Enclosed] = {}
        self.unread: dict[str, str] = {}
        self.any_wrong = False
        self.through = covered(model.nodes, matches, chosen)
        self.last_use = {name: i for i, n in enumerate(model.nodes) for name in n.inputs}

    def rows(self, blame: bool) -> Iterator[Row]:
        """The rows of the chosen nodes, the input's first."""
        if INPUT in self.chosen:
            yield self.input_row()
        causes: list[str | None] = []
        for i, (node, y) in enumerate(self.outputs()):
            if node.name in self.chosen or node.name in self.through:
                inputs = self.inputs_of(node)
                row = self.row(node, inputs, y)
                if blame and row["verdict"] == WRONG and inputs and worth_it(causes):
                    with np.errstate(over="ignore", invalid="ignore"):  # of a stranger's float64
                        row |= self.explanation(node, inputs, y)
                    causes.append(row.get("cause"))
                if node.name in self.chosen:
                    yield row
            self.forget(node, i)

    def outputs(self) -> Iterator[tuple[Node, NDArray[np.float32]]]:
        """The golden's own outputs: kept ones are read, otherwise the network runs again."""
        if all(self.golden.has(node.name) for node in self.model.nodes):
            for node in self.model.nodes:
                yield node, self.golden.output(node.name)
            return
        for node, y in walk(self.model, self.x):
            if digest(y) != self.golden.records[node.name].sha256:
                raise BadInput(self.golden.path, f"{node.name} is not what this model computes")
            yield node, y

    def usable(self, name: str) -> bool:
        return name in self.matches and self.matches[name].layout is not None

    def tensor(self, name: str) -> Array | None:
        """The other side's tensor of a node; None, with a note, where it cannot be read."""
        try:
            return read(self.matches[name], self.golden.records[name].shape)
        except BadInput as problem:
            self.unread[name] = str(problem)
            return None

    def given_input(self, name: str) -> Enclosed | None:
        """An input of a node as the other side gave it, or recomputed; None if neither."""
        if self.usable(name) and name not in self.unread:
            array = self.tensor(name)
            if array is not None:
                return given(array)
        if name == INPUT:
            return given(self.x)
        return self.recomputed.get(name)

    def inputs_of(self, node: Node) -> list[Enclosed]:
        """All inputs, if all are known; a node that is not given is recomputed if needed."""
        needed = self.usable(node.name) and node.name in self.chosen
        if not needed and node.name not in self.through:
            return []
        inputs = [self.given_input(name) for name in node.inputs]
        return [x for x in inputs if x is not None] if None not in inputs else []

    def row(self, node: Node, inputs: list[Enclosed], golden: NDArray[np.float32]) -> Row:
        """One node's row."""
        row: Row = {"node": node.name, "op": node.op, "verdict": None, "basis": "missing"}
        enclosed = enclose(node, inputs, self.declared) if inputs else None
        match = self.matches.get(node.name)
        if match is not None:
            row |= {"tensor": match.tensor.name, "mapped_by": match.how, "layout": match.layout}
        found = self.tensor(node.name) if self.usable(node.name) else None
        if found is None:
            if enclosed is not None:
                self.recomputed[node.name] = enclosed
            return self.without_tensor(row, node.name)
        row |= {"dtype": found.dtype.name, **deviation(found, golden)}
        if enclosed is None:
            return {**row, "verdict": UNDECIDED, "basis": "end to end", "note": "inputs unknown"}
        local = not any(x.bound.any() for x in inputs)
        judgement = judge(found, enclosed, local)
        row |= {"basis": "local" if local else "segment", "excess": limited(judgement.excess)}
        row |= {"verdict": judgement.verdict, "note": judgement.note}
        if judgement.verdict == WRONG:
            row["where"] = where_wrong(judgement.wrong)
            most = MOST if self.any_wrong else None
            row["worst"] = worst_element(node, inputs, found, enclosed, most)
            self.any_wrong = True
            row["picture"] = picture(judgement.wrong)
        return row

    def without_tensor(self, row: Row, name: str) -> Row:
        """A node without a tensor that can be judged."""
        shape = list(self.golden.records[name].shape)
        if name in self.unread:
            return {**row, "verdict": WRONG, "basis": "unreadable", "note": self.unread[name]}
        if name in self.matches:
            theirs = list(self.matches[name].tensor.shape)
            note = f"shape {theirs}, the golden has {shape}"
            note = f"shape {shape} is not of the layout asked for" if theirs == shape else note
            return {**row, "verdict": WRONG, "basis": "shape", "note": note}
        if name in self.through:
            return {**row, "note": "covered by a later node"}
        return {**row, "verdict": UNDECIDED, "note": "not given, and no later node covers it"}

    def input_row(self) -> Row:
        """The input tensor: equal to the golden's up to the declared storage."""
        row: Row = {"node": INPUT, "op": "input", "verdict": None, "basis": "missing"}
        match = self.matches.get(INPUT)
        if match is None:
            return {**row, "note": "not given: the golden's is taken as the one used"}
        row |= {"tensor": match.tensor.name, "mapped_by": match.how, "layout": match.layout}
        found = self.tensor(INPUT) if self.usable(INPUT) else None
        if found is None:
            return self.without_tensor(row, INPUT)
        value = np.asarray(self.x, np.float64)
        storage = self.declared.stored
        own = 0.0 if storage.name == "float32" else storage.u * abs(value) + storage.tiny
        own = own + UNDERFLOW * self.declared.flush
        judgement = judge(found, Enclosed(value, np.broadcast_to(own, value.shape)), True)
        row |= {"dtype": found.dtype.name, **deviation(found, self.x), "basis": "local"}
        row |= {"verdict": judgement.verdict, "excess": limited(judgement.excess)}
        if judgement.verdict == WRONG:
            row["where"], row["picture"] = where_wrong(judgement.wrong), picture(judgement.wrong)
            row |= cause_of_input(found, self.x)
        return row

    def explanation(self, node: Node, inputs: list[Enclosed], golden: NDArray[np.float32]) -> Row:
        """The named cause of a wrong node, and a note on declarations under which it is right."""
        from refquant.verification.blame.catalogue import explain
        from refquant.verification.blame.plain import plain_note

        found = self.tensor(node.name) if self.usable(node.name) else None
        if found is None:
            return {}
        note = plain_note(found, golden)
        if note:
            return {"cause": None, "note": note}
        row: Row = {"cause": explain(node, inputs, found, self.declared)}
        options = undeclared(node, inputs, found, self.declared)
        if options:
            row["note"] = f"consistent where declared: {' or '.join(options)}"
        return row

    def forget(self, node: Node, i: int) -> None:
        """Drop recomputed tensors that nobody takes any more."""
        for name in node.inputs:
            if self.last_use[name] == i:
                self.recomputed.pop(name, None)


def worth_it(causes: Sequence[str | None]) -> bool:
    """Whether the cause of one more wrong node is sought, after those."""
    different = causes.count(None) + len(set(causes) - {None})
    return different < MOST_CAUSES and len(causes) < MOST_EXPLAINED


def undeclared(node: Node, inputs: list[Enclosed], found: Array, declared: Declared) -> list[str]:
    """The options of UNDECLARED under each of which a wrong node is consistent.

    Bounds that were passed on hold under what was declared, so then nothing can be said.
    """
    options: list[str] = []
    for option, change in () if any(x.bound.any() for x in inputs) else UNDECLARED:
        wider = declared._replace(**change)
        if wider != declared:
            judgement = judge(found, enclose(node, inputs, wider), True)
            options += [option] * (judgement.verdict == CONSISTENT)
    return options


def cause_of_input(found: Array, x: NDArray[np.float32]) -> Row:
    """The cause of a wrong input tensor."""
    from refquant.verification.blame.input_causes import explain_input
    from refquant.verification.blame.plain import plain_note

    return {"cause": explain_input(found, x), "note": plain_note(found, x)}


def limited(excess: float | None) -> float | str | None:
    """A number for JSON."""
    return excess if excess is None or np.isfinite(excess) else "infinite"


def covered(
    nodes: Sequence[Node], matches: Mapping[str, Match], chosen: Collection[str]
) -> set[str]:
    """The missing nodes through which a given and chosen one is recomputed."""
    usable = {name for name, match in matches.items() if match.layout is not None}
    through: set[str] = set()
    for node in reversed(nodes):
        if (node.name in usable and node.name in chosen) or node.name in through:
            through.update(name for name in node.inputs if name not in usable and name != INPUT)
    return through
