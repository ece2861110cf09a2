"""Quantization goldens: another tool's codes and scales against ours, and what explains them.

w        (F, C, R, S) float32   the weight that both quantized
ours     a QuantizedTensor       what this project stores for it
theirs   codes (F, C, R, S) or rows (G, N), scale (G,) or (G, 1), zero_point likewise or none

For every layer: how many codes differ, by how much at most, how far scales are apart, and the
first of these that gives all of their codes from w (else "unknown"):

    granularity      as many scales as another granularity has groups: no more to compare  (1)
    rounding         q = R(w / scale) + zero_point, clipped, with their scale; R is rint (half to
                     even, ours), half away from 0, half up, down, truncation;
                     after all of them R(w / scale + zero_point)                           (2)
    division         each R also of w / scale and w * (1 / scale) rounded to float32       (3)
    clipping         (2) and (3) again with a range that leaves out the lowest code        (4)
    scale storage    (2) to (4) again with our scale, not with theirs as it is stored      (5)

The codes of (2) to (4) come from their own scale and zero point: what the scale should be is a
separate question, answered by `scales` in the row. Equal codes are explained by it alone.

Two differences are conventions, named and not wrong, alone or together, where the zero points are
ours:

    ties     each code that is not rint(w / s) + z is its other neighbour at an exact tie,
             2 w = k s with k odd, a product that float64 holds exactly: the paper prints
             round(w / s + z), ONNX rint(w / s) + z, others round halves away from 0        (6)
    scale    theirs is ours, or the float32 below it: a scale rounded to nearest; ours is
             rounded up, so that no weight lies beyond the last level                       (7)
"""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.auditing.audit import original
from refquant.graph.graph import Model
from refquant.quant.granularity import GRANULARITIES
from refquant.quant.tensor import QuantizedTensor
from refquant.verification.variants import rounded
from refquant.verification.verdict import CONSISTENT, UNDECIDED, WRONG

Array = NDArray[Any]
EQUAL, NOT_GIVEN = "equal", "not given"
NEAREST = "scale rounded to nearest instead of up"


def half_away(x: Array) -> Array:
    return np.sign(x) * np.floor(abs(x) + 0.5)


ROUNDINGS: Mapping[str, Callable[[Array], Array]] = {
    "half to even": np.rint,
    "half away from zero": half_away,
    "half up": lambda x: np.floor(x + 0.5),
    "down": np.floor,
    "truncation": np.trunc,
}


def quotients(rows: Array, scale: Array) -> Iterator[tuple[str, Array]]:
    """Equation (3): the ways to divide."""
    exact = rows.astype(np.float64)
    yield "", exact / scale
    narrow = rows.astype(np.float32)
    yield ", of a float32 quotient", (narrow / scale.astype(np.float32)).astype(np.float64)
    inverse = np.float32(1) / scale.astype(np.float32)
    yield ", of a product with the float32 reciprocal", (narrow * inverse).astype(np.float64)


def explanations(rows: Array, scale: Array, zero: Array, bits: int) -> Iterator[tuple[str, Array]]:
    """(what, codes) of equations (2) to (4), ours first."""
    top = 2**bits - 1
    ways = list(product(ROUNDINGS.items(), quotients(rows, scale)))
    for lowest, clipping in ((0, ""), (1, ", the lowest code left out")):
        # Sums last: where one is not negative, up is away from zero, and down is truncation.
        for (name, rounding), (way, quotient) in ways:
            q = np.clip(rounding(quotient) + zero, lowest, top)
            yield f"rounding {name}{way}{clipping}", q
        for (name, rounding), (way, quotient) in ways:
            q = np.clip(rounding(quotient + zero), lowest, top)
            yield f"rounding {name} of the sum with the zero point{way}{clipping}", q


def compare_layer(
    name: str, w: Array, ours: QuantizedTensor, theirs: Mapping[str, Array]
) -> dict[str, Any]:
    """The row of a layer; BadInput where `theirs` is not of its shape."""
    if ours.rules.affine_map is None:
        raise BadInput(name, f"scheme {ours.scheme} has no scale and zero point to compare")
    own_scale, own_zero = (a.astype(float) for a in ours.rules.affine_map(ours.params, ours.bits))
    row: dict[str, Any] = {"node": name, "codes": ours.codes.size}
    scale = np.asarray(theirs["scale"], np.float64).reshape(-1, 1)
    if scale.shape != own_scale.shape:
        return {**row, **other_granularity(ours, scale.size)}
    codes, zero = codes_of(name, ours, theirs, scale, own_zero)
    off = abs(codes - ours.codes)
    row |= {"differ": int((off > 0).sum()), "largest": int(off.max())}
    row["scales"] = scales_text(scale, own_scale)
    row["zero_points"] = int((zero != own_zero).sum())
    what = explanation(w, ours, codes, scale, zero, own_scale) if row["differ"] else ""
    what = what or of_equal_codes(row)
    if what == EQUAL or row["zero_points"] or not is_nearest(scale, own_scale):
        return {**row, "explanation": what, "verdict": CONSISTENT if what == EQUAL else WRONG}
    rows = ours.grouping.to_rows(np.asarray(w, np.float32))
    ties, others = at_ties(rows, codes, scale, zero, ours.bits)
    conventional = not others or not row["differ"]
    row |= {"ties": ties, "verdict": CONSISTENT if conventional else WRONG}
    if not conventional or np.array_equal(scale, own_scale):
        return {**row, "explanation": what}
    return {**row, "explanation": f"{NEAREST}; ties: {what}" if ties else NEAREST}


def is_nearest(scale: Array, own: Array) -> bool:
    """Rule (7): each scale is ours, or the float32 below it."""
    below = np.nextafter(own.astype(np.float32), np.float32(0)).astype(np.float64)
    return bool(((scale == own) | (scale == below)).all())


def at_ties(rows: Array, codes: Array, scale: Array, zero: Array, bits: int) -> tuple[int, int]:
    """Rule (6): how many codes are the other neighbour of a tie; how many are off otherwise."""
    x = rows.astype(np.float64)
    exact = x / scale
    steps = np.rint(2 * exact)
    tie = (steps % 2 == 1) & (2 * x == steps * scale)
    top = 2**bits - 1
    due = np.clip(np.rint(exact) + zero, 0, top)
    off = codes != due
    other = tie & (codes == np.clip(steps + 2 * zero - due, 0, top))
    return int((off & other).sum()), int((off & ~other).sum())


def codes_of(
    name: str, ours: QuantizedTensor, theirs: Mapping[str, Array], scale: Array, own_zero: Array
) -> tuple[Array, Array]:
    """Their codes as rows (G, N) and zero points (G, 1), counted as ours are; ours where they
    give none. BadInput where a number cannot be one."""
    codes = rows_of(name, ours, theirs["codes"])
    zero = np.asarray(theirs.get("zero_point", own_zero), np.float64).reshape(-1, 1)
    if not (np.isfinite(scale) & (scale > 0)).all() or not np.isfinite(zero).all():
        raise BadInput(name, "has a scale that is not above 0, or numbers that are not finite")
    if zero.shape != scale.shape:
        raise BadInput(name, f"{zero.size} zero points for {scale.size} scales")
    if codes.min() >= 0:
        return codes, zero
    # Codes around 0 are ours minus the middle code, and so are their zero points.
    middle = 2 ** (ours.bits - 1)
    return codes + middle, zero + middle if "zero_point" in theirs else zero


def of_equal_codes(row: Mapping[str, Any]) -> str:
    """Equal codes say little where they stand for other numbers."""
    if row["zero_points"]:
        return "equal codes, other zero points"
    if row["scales"].startswith("equal"):
        return EQUAL
    stored = row["scales"].startswith("ours")
    return f"scale storage: {row['scales']}" if stored else "equal codes, other scales"


def explanation(
    w: Array, ours: QuantizedTensor, codes: Array, scale: Array, zero: Array, own_scale: Array
) -> str:
    """The first of the docstring's list that gives all of their codes."""
    rows = ours.grouping.to_rows(np.asarray(w, np.float32))
    for what, q in explanations(rows, scale, zero, ours.bits):
        if np.array_equal(q, codes):
            plain = what == "rounding half to even"
            return "their scale and zero point" if plain else what
    if not np.array_equal(scale, own_scale):
        for what, q in explanations(rows, own_scale, zero, ours.bits):  # (5)
            if np.array_equal(q, codes):
                return (
                    f"scale storage: codes chosen against the scale before it was stored, {what}"
                )
    return "unknown"


def rows_of(name: str, ours: QuantizedTensor, codes: Array) -> Array:
    """Codes as rows (G, N), whole numbers."""
    codes = np.asarray(codes)
    if codes.size != ours.codes.size and codes.size != math.prod(ours.shape):
        raise BadInput(name, f"{codes.shape} codes, ours are {ours.shape}")
    if not np.array_equal(codes, np.rint(codes)):
        raise BadInput(name, "codes are not whole numbers")
    whole = codes.astype(np.int64)
    if whole.shape == ours.codes.shape:
        return whole
    if whole.shape != ours.shape:
        raise BadInput(name, f"codes of shape {codes.shape}, neither {ours.shape} nor rows")
    return ours.grouping.to_rows(whole)


def scales_text(scale: Array, own: Array) -> str:
    """How their scales are related to ours."""
    if np.array_equal(scale, own):
        return "equal"
    for name in ("float16", "bfloat16"):
        if np.array_equal(scale, rounded(own.astype(np.float32), name)):
            return f"ours, stored as {name}"
    if np.array_equal(scale.astype(np.float32), own.astype(np.float32)):
        return "equal in float32"
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = scale / own
    return f"{float(np.nanmin(ratio)):.6g} to {float(np.nanmax(ratio)):.6g} times ours"


def other_granularity(ours: QuantizedTensor, groups: int) -> dict[str, Any]:
    """Equation (1)."""
    fits = [g.name for g in GRANULARITIES.values() if g.rows_shape(ours.shape)[0] == groups]
    expected = ours.codes.shape[0]
    text = f"{groups} scales, ours are {expected} ({ours.granularity})"
    found = f"granularity: {' or '.join(fits)}" if fits else "unknown"
    row = {"differ": None, "largest": None, "scales": text}
    return {**row, "explanation": found, "verdict": WRONG}


def compare_codes(
    quantized: Model, model: Model, theirs: Mapping[str, Array]
) -> list[dict[str, Any]]:
    """A row per quantized layer; NOT_GIVEN where `theirs` has no NODE.codes or NODE.scale.

    model   the float model that it was made from: layers of the same names and shapes
    """
    rows: list[dict[str, Any]] = []
    for node in quantized.nodes:
        weight = node.arrays.get("weight")
        if not isinstance(weight, QuantizedTensor):
            continue
        keys = ("codes", "scale", "zero_point")
        own = {k: theirs[f"{node.name}.{k}"] for k in keys if f"{node.name}.{k}" in theirs}
        if not {"codes", "scale"} <= set(own):
            row = {"node": node.name, "codes": weight.codes.size, "explanation": NOT_GIVEN}
            rows.append({**row, "verdict": UNDECIDED})
            continue
        w = original(model, node.name, weight.shape)
        rows.append(compare_layer(node.name, w, weight, own))
    if all(row["explanation"] == NOT_GIVEN for row in rows):
        raise BadInput("codes", "no layer has NODE.codes and NODE.scale", "see refquant export")
    return rows
