"""The audit: how far quantized weights are from the original ones, and what they cost.

w        (F, C, R, S) float32   the original weight, where it is at hand
w_hat    the same shape         what is stored decodes to;  e = w_hat - w in float64

    max_error   max |e|                                                          (1)
    bound       the largest proven bound of a group                              (2)
    within_bound  whether every |e| is at most the bound of its group
    mse         sum of e**2 / number of weights                                  (3)
    sqnr_db     10 * log10(sum of w**2 / sum of e**2); infinite where e = 0      (4)
    clipped     share of weights farther off than any between the levels of
                their group can be                                               (5)
    used_codes  different codes that occur, of 2**code_bits
    entropy_bits  of the histogram of codes, bits per code (accounting.py)

    axes        those that keep parameters of their own, letters of FCRS
    cases       how many groups each rule of a scheme decided: which breakpoint, whether optimal

Totals over layers are sums: of e**2, w**2, weights, groups, used_codes, cases and bytes; (1) and
(2) are the largest, entropy_bits the mean over weights. Without the original weights (1), (3),
(4), (5) and cases are not known, and (2) holds for weights between the levels of their group.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.graph.graph import Model
from refquant.quant.accounting import (
    accounting,
    entropy_bits,
    entropy_bytes,
    histogram_of,
    nominal_of,
    stored_as,
)
from refquant.quant.tensor import QuantizedTensor

REMEDY = "give the model that it was made of"


class LayerAudit(NamedTuple):
    """One quantized weight; errors in units of the weights, sizes in bytes; None: not known."""

    name: str
    shape: tuple[int, ...]
    scheme: str
    granularity: str
    axes: str
    bits: int
    code_bits: int
    groups: int
    weights: int
    max_error: float | None
    bound: float | None
    mse: float | None
    sqnr_db: float | None
    clipped: float | None
    within_bound: bool | None
    used_codes: int
    entropy_bits: float
    fp32: int
    fp16: int
    nominal: int
    packed: int
    entropy: int
    squared_error: float | None
    squared_weight: float | None
    cases: Mapping[str, int]


class Errors(NamedTuple):
    """What needs the original weight."""

    largest: float | None = None
    bound: float | None = None
    squared: float | None = None
    squared_weight: float | None = None
    clipped: float | None = None
    within: bool | None = None
    cases: Mapping[str, int] = {}


def audit_layer(
    name: str, tensor: QuantizedTensor, w: NDArray[np.float32] | None = None
) -> LayerAudit:
    """The row of one quantized weight; w is the original."""
    errors = errors_without(tensor) if w is None else errors_of(tensor, w)
    histogram = histogram_of(tensor)
    size = tensor.size
    return LayerAudit(
        name=name,
        shape=tensor.shape,
        scheme=tensor.scheme,
        granularity=tensor.granularity,
        axes=tensor.grouping.axes,
        bits=tensor.bits,
        code_bits=tensor.code_bits,
        groups=len(tensor.codes),
        weights=size,
        max_error=errors.largest,
        bound=errors.bound,
        mse=None if errors.squared is None else errors.squared / size,
        sqnr_db=sqnr(errors.squared_weight, errors.squared),
        clipped=errors.clipped,
        within_bound=errors.within,
        used_codes=int(np.count_nonzero(histogram)),
        entropy_bits=entropy_bits(histogram),
        fp32=4 * size,
        fp16=2 * size,
        nominal=math.ceil(nominal_of(tensor.shape, stored_as(tensor))),
        packed=tensor.nbytes,
        entropy=entropy_bytes(tensor, histogram),
        squared_error=errors.squared,
        squared_weight=errors.squared_weight,
        cases=errors.cases,
    )


def errors_without(tensor: QuantizedTensor) -> Errors:
    """The bound alone; there is none for bias correction without the weights."""
    bound = float(tensor.error_bound().max())
    return Errors(bound=bound if math.isfinite(bound) else None)


def errors_of(tensor: QuantizedTensor, w: NDArray[np.float32]) -> Errors:
    """Equations (1) to (5) for one weight."""
    rows = tensor.grouping.to_rows(w)
    error = abs(np.subtract(tensor.rows(), rows, dtype=np.float64))
    bound = tensor.rules.error_bound(rows, tensor.params, tensor.bits)
    between = tensor.error_bound()
    cases = tensor.rules.cases
    return Errors(
        largest=float(error.max()),
        bound=float(bound.max()),
        squared=float(np.square(tensor.grouping.own(error, tensor.shape)).sum()),
        squared_weight=float(np.square(w, dtype=np.float64).sum()),
        clipped=float(tensor.grouping.own(error > between, tensor.shape).mean()),
        within=bool((error.max(axis=1, keepdims=True) <= bound).all()),
        cases=cases(tensor.scheme, rows, tensor.bits) if cases else {},
    )


def sqnr(signal: float | None, noise: float | None) -> float | None:
    """Equation (4), in dB."""
    if signal is None or noise is None:
        return None
    if noise == 0 or signal == 0:
        return math.inf if noise == 0 else -math.inf
    return 10 * math.log10(signal / noise)


def total_of(rows: Sequence[LayerAudit]) -> dict[str, Any]:
    """Sums over layers, and what follows from them."""
    known = all(row.squared_error is not None for row in rows)
    noise = sum(row.squared_error or 0.0 for row in rows) if known else None
    signal = sum(row.squared_weight or 0.0 for row in rows) if known else None
    weights = sum(row.weights for row in rows)
    bounds = [row.bound for row in rows if row.bound is not None]
    total: dict[str, Any] = {
        "layers": len(rows),
        "weights": weights,
        "groups": sum(row.groups for row in rows),
        "max_error": max(row.max_error or 0.0 for row in rows) if known else None,
        "bound": max(bounds) if len(bounds) == len(rows) else None,
        "mse": None if noise is None else noise / weights,
        "sqnr_db": sqnr(signal, noise),
        "clipped": sum((r.clipped or 0.0) * r.weights for r in rows) / weights if known else None,
    }
    if known:
        total["within_bound"] = all(row.within_bound for row in rows)
    total["used_codes"] = sum(row.used_codes for row in rows)
    total["entropy_bits"] = sum(row.entropy_bits * row.weights for row in rows) / weights
    cases: Counter[str] = Counter()
    for row in rows:
        cases.update(row.cases)
    total["cases"] = dict(cases)
    for way in ("fp32", "fp16", "nominal", "packed", "entropy"):
        total[way] = sum(getattr(row, way) for row in rows)
    return {**total, "bits_per_weight": 8 * total["packed"] / weights}


def audit(
    model: Model, against: Model | None = None, file_bytes: int | None = None
) -> dict[str, Any]:
    """{"bytes", "ratios", "layers": rows as dicts, "total"} of a quantized model.

    against   the float model that it was made from: layers of the same names
    """
    check_folding(model, against)
    rows = []
    for node in model.nodes:
        tensor = node.arrays.get("weight")
        if isinstance(tensor, QuantizedTensor):
            w = None if against is None else original(against, node.name, tensor.shape)
            rows.append(audit_layer(node.name, tensor, w))
    if not rows:
        raise BadInput("model", "holds no quantized weight", "quantize it first, or use --grid")
    sizes = accounting(model, file_bytes)
    return {**sizes, "layers": [row._asdict() for row in rows], "total": total_of(rows)}


def check_folding(model: Model, against: Model | None) -> None:
    """Refuse to compare weights quantized before folding with those of a folded model."""
    if against is not None and against.folded and not model.folded:
        raise BadInput(
            "against",
            "is folded, but the weights were quantized before folding",
            "give the unfolded model, such as the checkpoint",
        )


def original(model: Model, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The plain weight of a layer of that name and shape in the model that it came from."""
    weight = None
    if any(node.name == name for node in model.nodes):
        weight = model[name].arrays.get("weight")
    if not isinstance(weight, np.ndarray):
        raise BadInput(name, "the float model has no float weight of that name", REMEDY)
    if weight.shape != shape:
        raise BadInput(name, f"is {weight.shape} in the float model and {shape} here", REMEDY)
    return weight
