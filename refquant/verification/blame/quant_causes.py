"""Mistakes in decoding quantized weights, tried where the golden's weight is quantized.

w = scale[g] * (code - zero_point[g])   with one thing of it wrong:

one scale for all groups (the largest, the first, the mean), zero point left out or added
instead of subtracted, one zero point for all, codes taken as signed, codes of 4 bits
exchanged in pairs (low and high nibble), zero points off by one (codes counted from 1), scales
of other groups, with their zero points or without
"""

from collections.abc import Callable, Iterator

import numpy as np

from refquant.graph.graph import Node
from refquant.quant.tensor import QuantizedTensor
from refquant.verification.blame.trial import Array, Cause, Inputs, Trial, with_arrays

Decoded = Callable[[Array, Array, Array, QuantizedTensor], Iterator[Array]]


def parts(tensor: QuantizedTensor) -> tuple[Array, Array, Array] | None:
    """Codes (G, N), scale (G, 1), zero_point (G, 1) in float64; None for other schemes."""
    if tensor.rules.affine_map is None:
        return None
    scale, zero_point = tensor.rules.affine_map(tensor.params, tensor.bits)
    return tensor.codes.astype(float), scale.astype(float), zero_point.astype(float)


def decoded(change: Decoded) -> Callable[[Node, Inputs], Iterator[Trial]]:
    """Trials with the weight that `change` makes of codes, scales and zero points."""

    def trials(node: Node, inputs: Inputs) -> Iterator[Trial]:
        tensor = node.arrays["weight"]
        found = parts(tensor) if isinstance(tensor, QuantizedTensor) else None
        if found is None or not isinstance(tensor, QuantizedTensor):
            return
        right = tensor.dequantize()
        for rows in change(*found, tensor):
            weight = tensor.grouping.from_rows(rows.astype(np.float32), tensor.shape)
            if not np.array_equal(weight, right):
                yield Trial(with_arrays(node, weight=weight), inputs)

    return trials


def one_scale(q: Array, scale: Array, zero: Array, tensor: QuantizedTensor) -> Iterator[Array]:
    for one in (scale.max(), scale.flat[0], scale.mean(), scale.min()):
        yield one * (q - zero)


def no_zero(q: Array, scale: Array, zero: Array, tensor: QuantizedTensor) -> Iterator[Array]:
    yield scale * q


def zero_sign(q: Array, scale: Array, zero: Array, tensor: QuantizedTensor) -> Iterator[Array]:
    yield scale * (q + zero)


def one_zero(q: Array, scale: Array, zero: Array, tensor: QuantizedTensor) -> Iterator[Array]:
    middle = 2 ** (tensor.bits - 1)
    for one in (zero.flat[0], float(middle), float(middle - 1)):
        yield scale * (q - one)


def zero_off_by_one(
    q: Array, scale: Array, zero: Array, tensor: QuantizedTensor
) -> Iterator[Array]:
    for step in (1, -1):
        yield scale * (q - zero - step)


def signed(q: Array, scale: Array, zero: Array, tensor: QuantizedTensor) -> Iterator[Array]:
    high = 2 ** (tensor.code_bits - 1)
    two = np.where(q >= high, q - 2 * high, q)
    yield scale * (two - zero)
    yield scale * two


def nibbles(q: Array, scale: Array, zero: Array, tensor: QuantizedTensor) -> Iterator[Array]:
    """Neighbours exchanged: in the row, and in the order F, C, R, S in which files keep them."""
    if tensor.code_bits != 4:
        return
    yield scale * (exchanged(q) - zero)
    grouping = tensor.grouping
    if not grouping.block:
        whole = exchanged(grouping.from_rows(q, tensor.shape))
        yield scale * (grouping.to_rows(whole) - zero)


def exchanged(q: Array) -> Array:
    """Pairs of neighbours in row-major order exchanged; an odd last one stays."""
    flat = q.reshape(-1).copy()
    even = flat.size // 2 * 2
    flat[:even] = flat[:even].reshape(-1, 2)[:, ::-1].reshape(-1)
    return flat.reshape(q.shape)


def of_others(q: Array, scale: Array, zero: Array, tensor: QuantizedTensor) -> Iterator[Array]:
    """Scales, zero points or both of the groups in reverse, or next to their own."""
    for move in (lambda a: a[::-1], lambda a: np.roll(a, 1, 0), lambda a: np.roll(a, -1, 0)):
        yield move(scale) * (q - move(zero))
        yield move(scale) * (q - zero)
        yield scale * (q - move(zero))


CONV = ("conv",)
QUANT_CAUSES = (
    Cause("per-layer for per-filter scales", CONV, decoded(one_scale)),
    Cause("zero point left out", CONV, decoded(no_zero)),
    Cause("sign of the zero point", CONV, decoded(zero_sign)),
    Cause("one zero point for all groups", CONV, decoded(one_zero)),
    Cause("zero point off by one", CONV, decoded(zero_off_by_one)),
    Cause("codes taken as signed", CONV, decoded(signed)),
    Cause("low and high nibble exchanged", CONV, decoded(nibbles)),
    Cause("scales of other groups", CONV, decoded(of_others)),
)
