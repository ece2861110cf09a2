"""Down to one group and one weight: every number from which a code was made.

A group is named by its place along the axes that it keeps: "f 3", "c 0, r 1, s 2", "f 3, block 5".
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.axes import WEIGHT_AXES
from refquant.arrays.errors import BadInput
from refquant.quant.scheme import Step, part
from refquant.quant.tensor import QuantizedTensor

Weight = NDArray[np.float32]


def group_name(tensor: QuantizedTensor, group: int) -> str:
    """Where a group lies."""
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


def audit_groups(tensor: QuantizedTensor, w: Weight | None) -> list[dict[str, Any]]:
    """One row per group: where it lies, its parameters, and its errors where w is known."""
    bound = tensor.error_bound()[:, 0]
    rows: Any = None
    if w is not None:
        rows = tensor.grouping.to_rows(w)
        bound = tensor.rules.error_bound(rows, tensor.params, tensor.bits)[:, 0]
    decoded = tensor.rows()
    result = []
    for group in range(len(tensor.codes)):
        row: dict[str, Any] = {"group": group, "where": group_name(tensor, group)}
        row |= {"bound": finite(bound[group]), **numbers(tensor, group)}
        if rows is not None:
            error = decoded[group].astype(np.float64) - rows[group]
            row |= {
                "lowest": float(rows[group].min()),
                "highest": float(rows[group].max()),
                "max_error": float(abs(error).max()),
                "mse": float(np.mean(error * error)),
            }
        result.append(row)
    return result


def numbers(tensor: QuantizedTensor, group: int) -> dict[str, Any]:
    """The parameters of one group, single ones as numbers."""
    return {
        name: array[group].item() if array.shape[1] == 1 else array[group].tolist()
        for name, array in tensor.params.items()
    }


def audit_group(tensor: QuantizedTensor, w: Weight | None, group: int) -> dict[str, Any]:
    """One group: its row of `audit_groups`, and per code its level, count and weights."""
    G = len(tensor.codes)
    if not 0 <= group < G:
        raise BadInput(f"group={group}", f"choose 0..{G - 1}")
    params = part(tensor.params, slice(group, group + 1))
    every = np.arange(2**tensor.code_bits, dtype=tensor.codes.dtype)[None]
    with np.errstate(over="ignore"):
        levels = tensor.rules.dequantize(every, params, tensor.bits)[0]
    codes = tensor.codes[group]
    row = None if w is None else tensor.grouping.to_rows(w)[group]
    histogram = []
    for code, count in enumerate(np.bincount(codes, minlength=every.size).tolist()):
        line: dict[str, Any] = {"code": code, "level": finite(levels[code]), "count": count}
        if row is not None and count:
            own = row[codes == code]
            line |= {"lowest": float(own.min()), "highest": float(own.max())}
        histogram.append(line)
    one = one_group(tensor, group)
    lone = None if row is None else row.reshape(1, 1, 1, -1)
    facts = {**audit_groups(one, lone)[0], "group": group, "where": group_name(tensor, group)}
    return {**facts, "codes": histogram}


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


def audit_weight(
    tensor: QuantizedTensor, w: Weight | None, index: Sequence[int]
) -> dict[str, Any]:
    """One weight: its group, and every step from x to code to x_hat to error."""
    place = tuple(index)
    group, column = row_of(tensor, place)
    rules, params = tensor.rules, part(tensor.params, slice(group, group + 1))
    code = int(tensor.codes[group, column])
    one = tensor.codes[group : group + 1, column : column + 1]
    x_hat = float(rules.dequantize(one, params, tensor.bits)[0, 0])
    x = None if w is None else float(w[place])
    steps = rules.explain(x, code, params, tensor.bits)
    steps.append(Step("x_hat", x_hat, "rounded to float32"))
    if w is not None and x is not None:
        row = tensor.grouping.to_rows(w)[group : group + 1]
        bound = float(rules.error_bound(row, params, tensor.bits)[0, 0])
        ends = [
            Step("lowest of group", float(row.min())),
            Step("highest of group", float(row.max())),
        ]
        if rules.origin is not None:
            ends += rules.origin(tensor.scheme, row, column, params, tensor.bits)
        last = [Step("x_hat - x", x_hat - x), Step("bound", bound)]
        steps = [Step("x", x), *ends, *steps, *last]
    return {
        "weight": list(place),
        "group": group,
        "where": group_name(tensor, group),
        "stored_bits": tensor.code_bits,
        "code_in_binary": f"{code:0{tensor.code_bits}b}",
        "steps": [step._asdict() for step in steps],
    }


def row_of(tensor: QuantizedTensor, place: tuple[int, ...]) -> tuple[int, int]:
    """Group and column of the weight at (f, c, r, s)."""
    inside = len(place) == 4 and all(0 <= i < n for i, n in zip(place, tensor.shape, strict=True))
    if not inside:
        raise BadInput(f"weight={','.join(map(str, place))}", f"lies not within {tensor.shape}")
    flat = np.arange(tensor.codes.size).reshape(tensor.codes.shape)
    return divmod(int(tensor.grouping.from_rows(flat, tensor.shape)[place]), tensor.codes.shape[1])


def finite(number: float) -> float | None:
    """The number, None where it is infinite: JSON has no word for that."""
    return float(number) if math.isfinite(number) else None
