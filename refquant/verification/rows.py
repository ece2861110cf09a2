"""The rows of a report, node after node, in the order of the graph.

For each node: its inputs as the other side gave them, or recomputed with their bounds where it
did not; the exact value and its bound (bounds.py); the verdict (verdict.py); for a wrong node its
worst element, a picture and an explanation. One node is in memory at a time, with the tensors
that it takes; recomputed ones stay until they were last used.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.engine.walk import walk
from refquant.graph.graph import INPUT, Model, Node
from refquant.verification.bounds import enclose, enclose_input
from refquant.verification.declared import Declared
from refquant.verification.deviation import deviation
from refquant.verification.enclosed import Enclosed, given
from refquant.verification.evidence import weighed_node
from refquant.verification.explanation import (
    Array,
    explanation,
    explanation_of_input,
    worth_it,
)
from refquant.verification.golden.file import Golden, digest
from refquant.verification.mapping import Match, read
from refquant.verification.node_verdict import judged, of_verdict, row_of
from refquant.verification.report import NodeRow
from refquant.verification.verdict import (
    UNDECIDED,
    WRONG,
    excess_of,
    judge,
    of_missing,
    of_unknown_inputs,
    of_unusable,
)
from refquant.verification.worst import MOST, worst_element

Float32 = NDArray[np.float32]


class Verification:
    """One verification: goes through the nodes in order and holds what later ones need."""

    def __init__(
        self,
        golden: Golden,
        model: Model,
        x: Float32,
        matches: Mapping[str, Match],
        declared: Declared,
        chosen: Collection[str],
        variants: int,
    ) -> None:
        self.golden, self.model, self.x = golden, model, x
        self.matches, self.declared, self.chosen = matches, declared, chosen
        self.variants = variants
        self.recomputed: dict[str, Enclosed] = {}
        self.unread: dict[str, str] = {}
        self.any_wrong = False
        self.through = covered(model.nodes, matches, chosen)
        self.last_use = {name: i for i, n in enumerate(model.nodes) for name in n.inputs}

    def rows(self, blame: bool) -> Iterator[NodeRow]:
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
                        row = {**row, **self.explained(node, inputs, y)}
                    causes.append(row.get("cause"))
                if node.name in self.chosen:
                    yield row
            self.forget(node, i)

    def outputs(self) -> Iterator[tuple[Node, Float32]]:
        """The golden's own outputs: kept ones are read, otherwise the network runs again."""
        if all(self.golden.has(node.name) for node in self.model.nodes):
            for node in self.model.nodes:
                yield node, self.golden.output(node.name)
            return
        for node, y in walk(self.model, self.x):
            if digest(y) != self.golden.records[node.name].sha256:
                raise BadInput(self.golden.path, f"{node.name} is not what this model computes")
            yield node, y

    def tensor(self, name: str) -> Array | None:
        """The other side's tensor of a node; None where it gives none that can be the node's.
        Why one cannot be read is kept."""
        if name not in self.matches or self.matches[name].layout is None or name in self.unread:
            return None
        try:
            return read(self.matches[name], self.golden.records[name].shape)
        except BadInput as problem:
            self.unread[name] = str(problem)
            return None

    def given_input(self, name: str) -> Enclosed | None:
        """An input of a node as the other side gave it, or recomputed; None if neither."""
        array = self.tensor(name)
        if array is not None:
            return given(array)
        return given(self.x) if name == INPUT else self.recomputed.get(name)

    def inputs_of(self, node: Node) -> list[Enclosed]:
        """All inputs, if all are known; a node that is not given is recomputed if needed."""
        match = self.matches.get(node.name)
        needed = match is not None and match.layout is not None and node.name in self.chosen
        if not needed and node.name not in self.through:
            return []
        inputs = [self.given_input(name) for name in node.inputs]
        return [x for x in inputs if x is not None] if None not in inputs else []

    def row(self, node: Node, inputs: list[Enclosed], golden: Float32) -> NodeRow:
        """The row of one node."""
        found = self.tensor(node.name)
        if found is None:
            if inputs:
                self.recomputed[node.name] = enclose(node, inputs, self.declared)
            return self.row_without_tensor(node.name, node.op)
        row: NodeRow = {**self.start(node.name, node.op), "dtype": found.dtype.name}
        row = {**row, **deviation(found, golden)}
        if not inputs:
            return {**row, **of_verdict(of_unknown_inputs()), "basis": "end to end"}
        parts, enclosed = judged(node, inputs, found, self.declared)
        row = {**row, **parts}
        if row["verdict"] == WRONG:
            most = MOST if self.any_wrong else None
            row["worst"] = worst_element(node, inputs, found, enclosed, most)
            self.any_wrong = True
        if row["verdict"] == UNDECIDED and row["basis"] == "local" and self.variants:
            return weighed_node(row, node, inputs, found, self.declared)
        return row

    def start(self, name: str, op: str) -> NodeRow:
        """What a row begins with: no verdict yet, and the tensor that is the node's."""
        row: NodeRow = {"node": name, "op": op, "verdict": None, "decided_by": None}
        row["basis"] = "missing"
        if name not in self.matches:
            return row
        tensor, layout, how = self.matches[name]
        return {**row, "tensor": tensor.name, "mapped_by": how, "layout": layout}

    def row_without_tensor(self, name: str, op: str) -> NodeRow:
        """The row of a node without a tensor that can be judged."""
        row, shape = self.start(name, op), list(self.golden.records[name].shape)
        if name in self.unread:
            return {**row, **of_verdict(of_unusable(self.unread[name])), "basis": "unreadable"}
        if name not in self.matches:
            return {**row, **of_verdict(of_missing(name in self.through, name == INPUT))}
        theirs = list(self.matches[name].tensor.shape)
        why = f"shape {theirs}, the golden has {shape}"
        why = f"shape {shape} is not of the layout asked for" if theirs == shape else why
        return {**row, **of_verdict(of_unusable(why)), "basis": "shape"}

    def input_row(self) -> NodeRow:
        """The row of the input tensor: equal to the golden's up to the declared storage."""
        found = self.tensor(INPUT)
        if found is None:
            return self.row_without_tensor(INPUT, "input")
        row: NodeRow = {**self.start(INPUT, "input"), "dtype": found.dtype.name}
        row, enclosed = {**row, **deviation(found, self.x)}, enclose_input(self.x, self.declared)
        excess = excess_of(found, enclosed)
        row = {**row, **row_of(excess, judge(found, enclosed, local=True))}
        return {**row, **explanation_of_input(found, self.x)} if row["verdict"] == WRONG else row

    def explained(self, node: Node, inputs: list[Enclosed], golden: Float32) -> NodeRow:
        """The cause and the note of a wrong node that has a tensor."""
        found = self.tensor(node.name)
        return {} if found is None else explanation(node, inputs, found, golden, self.declared)

    def forget(self, node: Node, i: int) -> None:
        """Drop recomputed tensors that nobody takes any more."""
        for name in node.inputs:
            if self.last_use[name] == i:
                self.recomputed.pop(name, None)


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
