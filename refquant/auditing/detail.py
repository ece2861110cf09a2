"""The audit of one layer, down to a group and to a weight: every number that made a code.

w (F, C, R, S) float32 is the original weight, None where it is not at hand. A group is named by
its place along the axes that it keeps: "f 3", "c 0, r 1, s 2", "f 3, block 5".
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.axes import WEIGHT_AXES
from refquant.arrays.errors import BadInput
from refquant.auditing.detail_rows import CodeAudit, GroupAudit, WeightAudit
from refquant.quant.scheme import Step, part
from refquant.quant.tensor import QuantizedTensor

Weight = NDArray[np.float32]


def group_name(tensor: QuantizedTensor, group: int) -> str:
    """Where a group lies, in words."""
    granularity = tensor.grouping
    if granularity.block:
        blocks = len(tensor.codes) // tensor.shape[0]
        return f"f {group // blocks}, block {group % blocks}"
    kept = [
        (letter.lower(), size)
        for letter, size in zip(WEIGHT_AXES, tensor.shape, strict=True)
        if letter in granularity.axes
    ]
    places = np.unravel_index(group, [size for _, size in kept]) if kept else ()
    return ", ".join(f"{n} {i}" for (n, _), i in zip(kept, places, strict=True)) or "all weights"


def audit_groups(tensor: QuantizedTensor, w: Weight | None) -> list[GroupAudit]:
    """One row per group: where it lies, its parameters, and its errors where w is known."""
    if w is None:
        return [
            group_row(tensor, group, bound) for group, bound in enumerate(tensor.error_bound())
        ]
    rows, decoded = tensor.grouping.to_rows(w), tensor.rows()
    bounds = tensor.rules.error_bound(rows, tensor.params, tensor.bits)
    return [
        with_errors(group_row(tensor, group, bound), rows[group], decoded[group])
        for group, bound in enumerate(bounds)
    ]


def group_row(tensor: QuantizedTensor, group: int, bound: NDArray[np.floating]) -> GroupAudit:
    """What is known of a group without its weights; bound (1,) is that of its errors."""
    where, params = group_name(tensor, group), numbers(tensor, group)
    return GroupAudit(group, where, finite(bound[0]), params)


def with_errors(
    row: GroupAudit, w: NDArray[np.float32], decoded: NDArray[np.float32]
) -> GroupAudit:
    """The row with the extremes of the group's weights (N,) and the errors of `decoded` (N,)."""
    error = decoded.astype(np.float64) - w
    return replace(
        row,
        lowest=float(w.min()),
        highest=float(w.max()),
        max_error=float(abs(error).max()),
        mse=float(np.mean(error * error)),
    )


def numbers(tensor: QuantizedTensor, group: int) -> dict[str, float | list[float]]:
    """The parameters of one group by name: a number, or a list where there are several."""
    return {
        name: array[group].item() if array.shape[1] == 1 else array[group].tolist()
        for name, array in tensor.params.items()
    }


def audit_group(tensor: QuantizedTensor, w: Weight | None, group: int) -> GroupAudit:
    """One group: its row of `audit_groups`, and per code its level, count and weights."""
    G = len(tensor.codes)
    if not 0 <= group < G:
        raise BadInput(f"group={group}", f"choose 0..{G - 1}")
    row = None if w is None else tensor.grouping.to_rows(w)[group]
    lone = None if row is None else row.reshape(1, 1, 1, -1)
    (found,) = audit_groups(one_group(tensor, group), lone)
    where = group_name(tensor, group)
    return replace(found, group=group, where=where, codes=audit_codes(tensor, row, group))


def audit_codes(
    tensor: QuantizedTensor, row: NDArray[np.float32] | None, group: int
) -> tuple[CodeAudit, ...]:
    """One row per code of a group; row (N,) holds its original weights."""
    params = part(tensor.params, slice(group, group + 1))
    every = np.arange(2**tensor.code_bits, dtype=tensor.codes.dtype)[None]
    with np.errstate(over="ignore"):
        levels = tensor.rules.dequantize(every, params, tensor.bits)[0]
    codes = tensor.codes[group]
    rows = []
    for code, count in enumerate(np.bincount(codes, minlength=every.size).tolist()):
        ends: tuple[float, ...] = ()
        if row is not None and count:
            own = row[codes == code]
            ends = float(own.min()), float(own.max())
        rows.append(CodeAudit(code, finite(levels[code]), count, *ends))
    return tuple(rows)


def one_group(tensor: QuantizedTensor, group: int) -> QuantizedTensor:
    """A group as a tensor of its own, (1, 1, 1, N)."""
    chosen = slice(group, group + 1)
    N = tensor.codes.shape[1]
    return QuantizedTensor(
        tensor.codes[chosen],
        part(tensor.params, chosen),
        tensor.scheme,
        "layer",
        tensor.bits,
        (1, 1, 1, N),
    )


def audit_weight(tensor: QuantizedTensor, w: Weight | None, index: Sequence[int]) -> WeightAudit:
    """One weight: its group, and every step from x to code to x_hat to error."""
    place = tuple(index)
    group, column = row_of(tensor, place)
    code = int(tensor.codes[group, column])
    steps = steps_of(tensor, group, column, None if w is None else float(w[place]))
    if w is not None:
        row = tensor.grouping.to_rows(w)[group : group + 1]
        steps = with_origin(tensor, group, column, row, steps)
    return WeightAudit(
        weight=place,
        group=group,
        where=group_name(tensor, group),
        stored_bits=tensor.code_bits,
        code_in_binary=f"{code:0{tensor.code_bits}b}",
        steps=tuple(steps),
    )


def steps_of(tensor: QuantizedTensor, group: int, column: int, x: float | None) -> list[Step]:
    """From x, where it is known, and its code to x_hat, what the code decodes to."""
    params = part(tensor.params, slice(group, group + 1))
    one = tensor.codes[group : group + 1, column : column + 1]
    x_hat = float(tensor.rules.dequantize(one, params, tensor.bits)[0, 0])
    steps = tensor.rules.explain(x, int(one[0, 0]), params, tensor.bits)
    return [*steps, Step("x_hat", x_hat, "rounded to float32")]


def with_origin(
    tensor: QuantizedTensor,
    group: int,
    column: int,
    row: NDArray[np.float32],
    steps: Sequence[Step],
) -> list[Step]:
    """The steps between where the parameters come from and the error; row (1, N) is the group."""
    rules, params = tensor.rules, part(tensor.params, slice(group, group + 1))
    x = float(row[0, column])
    first = [
        Step("x", x),
        Step("lowest of group", float(row.min())),
        Step("highest of group", float(row.max())),
    ]
    if rules.origin is not None:
        first += rules.origin(tensor.scheme, row, column, params, tensor.bits)
    bound = float(rules.error_bound(row, params, tensor.bits)[0, 0])
    return [*first, *steps, Step("x_hat - x", steps[-1].value - x), Step("bound", bound)]


def row_of(tensor: QuantizedTensor, place: tuple[int, ...]) -> tuple[int, int]:
    """The group of the weight at (f, c, r, s), and its column in the row of that group."""
    inside = len(place) == 4 and all(0 <= i < n for i, n in zip(place, tensor.shape, strict=True))
    if not inside:
        raise BadInput(f"weight={','.join(map(str, place))}", f"lies not within {tensor.shape}")
    flat = np.arange(tensor.codes.size).reshape(tensor.codes.shape)
    return divmod(int(tensor.grouping.from_rows(flat, tensor.shape)[place]), tensor.codes.shape[1])


def finite(number: float) -> float | None:
    """The number, or None where it is not finite, for which JSON has no word."""
    return float(number) if math.isfinite(number) else None
