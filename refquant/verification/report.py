"""What `verify` gives back: a Report with a NodeRow for each node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict


class NodeRow(TypedDict, total=False):
    """The row of a node: plain data, as in `refquant verify --json`.

    Every row has `node`, `op`, `verdict`, `decided_by` and `basis`; the others are there where the
    node has a tensor, or is wrong, or was weighed by evidence.

    Attributes
    ----------
    node, op : str
        The name of the node ("images" is the input tensor) and its operation.
    verdict : str or None
        "wrong", "implausible", "undecided" or "consistent"; None where the node needs none, since
        it has no tensor and a later node covers it.
    decided_by : str or None
        "theorem" (a bound decided), "definition" (another shape, or nothing that can be read),
        "evidence" (compared with variants); None where nothing was decided.
    basis : str
        What the node was judged from: "local", its own inputs; "segment", earlier tensors with
        their bounds passed on; "end to end", nothing; "evidence"; "shape", "unreadable" or
        "missing" where it has no tensor that could be judged.
    tensor, mapped_by, layout, dtype : str
        The name of the tensor on the other side, the rule that found it, its axes and its type.
    max_abs, sqnr_db, cosine : float or None
        The largest deviation from the golden in units of the output; the signal to noise ratio in
        dB; the cosine of the angle between the two. None where there is none.
    ulps : dict of str to int, or None
        How many elements are 0, 1, 2, 3-4 ... float32 steps from the golden.
    nonfinite : int
        How many elements are not finite, and left out of the numbers above.
    excess : float, str or None
        The largest share of the bound that is used, above 1 only where the node is wrong;
        "infinite" where the bound is 0; None where no bound is known.
    note, cause : str or None
        What else there is to say, and the usual mistake that explains a wrong node.
    where, worst, picture : dict, dict, list of str
        The wrong elements: their counts, the worst one with its sum, and a picture of the map.
    evidence : dict
        What it `says` ("plausible", "implausible" or None), of the "node" alone or of the
        "network" (`of`), the `largest` deviation of the variants, `k`, how many `variants` there
        are, and the `odds` of k > 1.
    """

    node: str
    op: str
    verdict: str | None
    decided_by: str | None
    basis: str
    tensor: str
    mapped_by: str
    layout: str | None
    dtype: str
    nonfinite: int
    max_abs: float | None
    sqnr_db: float | None
    cosine: float | None
    ulps: dict[str, int] | None
    excess: float | str | None
    note: str
    cause: str | None
    where: Mapping[str, Any]
    worst: Mapping[str, Any]
    picture: Sequence[str]
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """The verdict over all nodes, and the row of each.

    `verify` makes it; it holds plain data, and two reports of the same files are equal.

    Parameters
    ----------
    verdict : str
        "wrong", "implausible", "undecided" or "consistent".
    hypotheses : mapping of str to str
        H1 to H6, under which the verdict holds, in words.
    first_wrong : str or None
        The name of the first wrong node.
    cause : str or None
        The usual mistake that explains it, or, where nothing is wrong, the first implausible
        node; None where none does, or none was sought.
    rows : sequence of NodeRow
        One for each node that was judged, in the order of the graph, the input first.
    unused : sequence of str
        The tensors of the other side that are the output of no node.
    decided_by : str or None
        The ground of the verdict: "theorem", "definition", "evidence", or None where it is
        undecided. A consistent network has the weakest of its nodes' grounds.

    Examples
    --------
    >>> from refquant.verification.report import Report
    >>> report = Report("consistent", {}, None, None, [], ["Sigmoid_3"], "theorem")
    >>> report.as_json()["decided_by"], report.as_json()["unused_tensors"]
    ('theorem', ['Sigmoid_3'])
    """

    verdict: str
    hypotheses: Mapping[str, str]
    first_wrong: str | None
    cause: str | None
    rows: Sequence[NodeRow]
    unused: Sequence[str]
    decided_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what `refquant verify --json` prints, as one object.

        Returns
        -------
        dict
            Plain data; the rows are under "nodes", the unused tensors under "unused_tensors".
        """
        names = ("verdict", "decided_by", "hypotheses", "first_wrong", "cause")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "nodes": list(self.rows), "unused_tensors": list(self.unused)}
