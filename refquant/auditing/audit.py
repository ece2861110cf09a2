"""The audit: how far quantized weights are from the original ones, and what they cost.

w        (F, C, R, S) float32   the original weight, where it is at hand
w_hat    the same shape         the weight that is decoded from what is stored
e        the same shape         w_hat - w in float64

    max_error   max |e|                                                          (1)
    bound       the largest proven bound of a group                              (2)
    within_bound  whether every |e| is at most the bound of its group
    mse         sum of e**2 / number of weights                                  (3)
    sqnr_db     10 * log10(sum of w**2 / sum of e**2); infinite where e = 0      (4)
    clipped     share of the weights that are farther off than any weight
                between the levels of their group can be                         (5)
    used_codes  number of different codes that occur, of 2**code_bits
    entropy_bits  entropy of the histogram of codes, in bits per code (accounting.py)

    axes        the axes that keep parameters of their own, letters of FCRS
    cases       how many groups each rule of a scheme decided: which breakpoint, whether optimal

A total over layers adds up e**2, w**2, weights, groups, used_codes, cases and bytes; it takes the
largest (1) and (2), and the mean of entropy_bits over the weights. Without the original weights
(1), (3), (4), (5) and cases are not known, and (2) holds for weights between the levels of their
group only.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.auditing.rows import Audit, LayerAudit, TotalAudit
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
WAYS = ("fp32", "fp16", "nominal", "packed", "entropy")


class Errors(NamedTuple):
    """The numbers that need the original weight; without it, None and no cases."""

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
    """The row of one quantized weight; w (F, C, R, S) is the original one, where it is at hand."""
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
    """The bound alone; after a bias correction there is none without the original weights."""
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


def total_of(rows: Sequence[LayerAudit]) -> TotalAudit:
    """The total of the rows: sums over the layers, and what follows from the sums."""
    known = all(row.squared_error is not None for row in rows)
    noise = sum(row.squared_error or 0.0 for row in rows) if known else None
    signal = sum(row.squared_weight or 0.0 for row in rows) if known else None
    weights = sum(row.weights for row in rows)
    bounds = [row.bound for row in rows if row.bound is not None]
    sizes = {way: sum(getattr(row, way) for row in rows) for way in WAYS}
    return TotalAudit(
        layers=len(rows),
        weights=weights,
        groups=sum(row.groups for row in rows),
        max_error=max(row.max_error or 0.0 for row in rows) if known else None,
        bound=max(bounds) if len(bounds) == len(rows) else None,
        mse=None if noise is None else noise / weights,
        sqnr_db=sqnr(signal, noise),
        clipped=sum((r.clipped or 0.0) * r.weights for r in rows) / weights if known else None,
        within_bound=all(row.within_bound for row in rows) if known else None,
        used_codes=sum(row.used_codes for row in rows),
        entropy_bits=sum(row.entropy_bits * row.weights for row in rows) / weights,
        cases=cases_of(rows),
        **sizes,
        bits_per_weight=8 * sizes["packed"] / weights,
    )


def cases_of(rows: Iterable[LayerAudit]) -> dict[str, int]:
    """How many groups of all rows each rule decided."""
    cases: Counter[str] = Counter()
    for row in rows:
        cases.update(row.cases)
    return dict(cases)


def audit(model: Model, against: Model | None = None, file_bytes: int | None = None) -> Audit:
    """Measure what quantization did to every quantized weight of a model, and what it costs.

    Parameters
    ----------
    model : Model
        A model with quantized weights, such as `quantize_model` makes.
    against : Model, optional
        The float model that it was made from, with layers of the same names. Without it the
        errors are not known and are None; sizes, codes and most bounds are known.
    file_bytes : int, optional
        The size of the model's file, which is reported beside the other sizes.

    Returns
    -------
    Audit
        The sizes of the whole model, one row per quantized weight, and their total.

    Raises
    ------
    BadInput
        If the model holds no quantized weight, or if `against` lacks one of its layers, has it in
        another shape, or is folded while the weights were quantized before folding.

    Notes
    -----
    For an original weight w and what is stored of it, w_hat, both (F, C, R, S) float32,

        sqnr_db = 10 * log10(sum of w**2 / sum of (w_hat - w)**2)

    in float64. The other equations stand at the top of the file, the proofs of the bounds in the
    files of the schemes. "nominal" counts bytes as [1]_ does.

    References
    ----------
    .. [1] Baghbanbashi, Raji, Ghavami, "Quantizing YOLOv7: A Comprehensive Study", 2023,
       arXiv:2407.04943.

    Examples
    --------
    >>> import refquant
    >>> from refquant.quant.recipe import parse
    >>> model = refquant.load_model("demo")
    >>> quantized = refquant.quantize_model(model, parse("* affine filter 4"))
    >>> found = refquant.audit(quantized, against=model)
    >>> found.total.layers, found.total.within_bound, round(found.total.sqnr_db, 1)
    (92, True, 18.9)
    >>> found.bytes["packed"], round(found.ratios["packed"]["fp32"], 2)
    (316297, 7.35)
    >>> worst = min(found.layers, key=lambda row: row.sqnr_db)
    >>> worst.name, worst.bits, round(worst.sqnr_db, 1)
    ('model.104.rbr_reparam', 4, 12.9)
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
    baseline = sizes["baseline_unfolded_fp16"]
    return Audit(sizes["bytes"], baseline, sizes["ratios"], tuple(rows), total_of(rows))


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
