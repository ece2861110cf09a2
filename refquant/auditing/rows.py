"""The rows of an audit: one per layer, their total, the audit of a model, a line of the grid.

Numbers in brackets are equations of audit.py. Errors are in units of the weights, sizes in bytes.
None means that a number is not known: nearly all errors need the original weights. The keys of
`to_json` are those of `refquant audit --json` and the columns of its CSV files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


class Keyed:
    """A record whose fields are also found by their JSON key, as in `audit(model)["layers"]`."""

    def __getitem__(self, key: str) -> Any:
        """Give the field of that name; KeyError where there is none."""
        return vars(self)[key]


@dataclass(frozen=True)
class LayerAudit(Keyed):
    """What quantization did to one weight of shape (F, C, R, S).

    Parameters
    ----------
    name : str
        The name of the convolution.
    shape : tuple of int
        The four sizes F, C, R, S.
    scheme, granularity : str
        The names of the scheme and of the granularity.
    axes : str
        The axes that keep parameters of their own, letters of FCRS.
    bits, code_bits : int
        The nominal bits of the scheme, and the bits that are stored per code.
    groups, weights : int
        The number of groups, and F * C * R * S.
    max_error : float or None
        The largest error (1).
    bound : float or None
        The largest proven bound of a group (2).
    mse : float or None
        The mean squared error (3).
    sqnr_db : float or None
        The signal-to-quantization-noise ratio in dB (4); infinite where no weight is off.
    clipped : float or None
        The share of weights beyond the levels of their group, in [0, 1] (5).
    within_bound : bool or None
        Whether every error is at most the bound of its group.
    used_codes : int
        The number of different codes that occur, of 2**code_bits.
    entropy_bits : float
        The entropy of the codes, in bits per code.
    fp32, fp16, nominal, packed, entropy : int
        The size in the five ways of counting (quant/accounting.py).
    squared_error, squared_weight : float or None
        The sums of squares of which (3) and (4) are made.
    cases : mapping of str to int
        How many groups each rule of the scheme decided; empty where there are no rules.
    """

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

    def to_json(self) -> Json:
        """Give the row as a plain dictionary, in the order of the fields."""
        return dict(vars(self))


@dataclass(frozen=True)
class TotalAudit(Keyed):
    """What quantization did to several layers together: sums, and what follows from them.

    Parameters
    ----------
    layers, weights, groups : int
        The numbers of layers, of weights and of groups.
    max_error, bound : float or None
        The largest of the layers, (1) and (2).
    mse, sqnr_db : float or None
        Those of all weights together, (3) and (4).
    clipped : float or None
        The share of all weights, in [0, 1] (5).
    within_bound : bool or None
        Whether every error of every layer is at most the bound of its group.
    used_codes : int
        The sum over the layers.
    entropy_bits : float
        The mean over the weights, in bits per code.
    cases : mapping of str to int
        How many groups each rule of the schemes decided.
    fp32, fp16, nominal, packed, entropy : int
        The sums over the layers.
    bits_per_weight : float
        The packed size in bits, divided by the number of weights.
    """

    layers: int
    weights: int
    groups: int
    max_error: float | None
    bound: float | None
    mse: float | None
    sqnr_db: float | None
    clipped: float | None
    within_bound: bool | None
    used_codes: int
    entropy_bits: float
    cases: Mapping[str, int]
    fp32: int
    fp16: int
    nominal: int
    packed: int
    entropy: int
    bits_per_weight: float

    def to_json(self) -> Json:
        """Give the total as a plain dictionary, without `within_bound` where it is not known."""
        without = {"within_bound"} if self.within_bound is None else set()
        return {key: value for key, value in vars(self).items() if key not in without}


@dataclass(frozen=True)
class Audit(Keyed):
    """What `refquant.audit` finds about a quantized model.

    Parameters
    ----------
    bytes : mapping of str to int or None
        The size of the whole model in every way of counting: "fp32", "fp16", "nominal", "packed",
        "entropy", "file" (quant/accounting.py).
    baseline_unfolded_fp16 : int
        The size of the unfolded network in FP16, against which "nominal" is compared.
    ratios : mapping of str to mapping
        How many times smaller each of these ways is than "fp32" and "fp16".
    layers : tuple of LayerAudit
        One row per quantized weight, in the order of the network.
    total : TotalAudit
        All rows together.
    """

    bytes: Mapping[str, int | None]
    baseline_unfolded_fp16: int
    ratios: Mapping[str, Mapping[str, float] | None]
    layers: tuple[LayerAudit, ...]
    total: TotalAudit

    def to_json(self) -> Json:
        """Give the object of `refquant audit --json`; infinities are left in it."""
        rows = [row.to_json() for row in self.layers]
        return {**vars(self), "layers": rows, "total": self.total.to_json()}


@dataclass(frozen=True)
class GridAudit:
    """What one way of quantizing does to float weights.

    Parameters
    ----------
    scheme, granularity : str
        The names of the scheme and of the granularity.
    bits : int
        The nominal bits of the scheme.
    axes : str
        The axes that keep parameters of their own, letters of FCRS.
    code_bits : int
        The bits that would be stored per code.
    total : TotalAudit
        All layers together.
    rows : tuple of LayerAudit
        One row per layer.
    """

    scheme: str
    granularity: str
    bits: int
    axes: str
    code_bits: int
    total: TotalAudit
    rows: tuple[LayerAudit, ...]

    def to_json(self) -> Json:
        """Give the way, its totals and its rows, in this order, as one plain dictionary."""
        way = {key: value for key, value in vars(self).items() if key not in ("total", "rows")}
        return {**way, **self.total.to_json(), "rows": [row.to_json() for row in self.rows]}
