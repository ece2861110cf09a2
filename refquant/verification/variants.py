"""Legitimate variants: the same network in other orders of summation, to see how they spread.

One variant is a forward pass in which every convolution permutes its input channels at random,
cuts them into a random number of pieces, adds each piece by a matrix product (the BLAS's own
order), then the pieces and the bias in random order, and every SiLU takes one of three formulas
(sigmoids and the decoding are the golden's own):
    x / (1 + exp(-x)),    x * (1 / (1 + exp(-x))),    x * (tanh(x / 2) / 2 + 1 / 2)          (1)
Values are rounded to the declared storage type after every node, weights before, a bias before or
not; partial sums to the declared accumulator, piece by piece, so a narrow accumulator is emulated
a little too kindly.

    largest[node] = max over >= 32 variants of max |variant - golden|                        (2)
    k = max |other - golden| / largest                                                       (3)

If the other side is one more such variant, k > 1 has a chance of 1 in 33 at a node: evidence,
never proof. Memory: that of a forward pass; time: one forward pass of NumPy per variant.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from refquant.engine.walk import run_node
from refquant.graph.graph import INPUT, Model, Node, array_of
from refquant.ops.conv import pad, windows
from refquant.verification.declared import Declared

Float32 = NDArray[np.float32]
VARIANTS = 32
MOST_PIECES = 8


def largest_deviation(
    model: Model,
    x: Float32,
    golden: dict[str, Float32],
    declared: Declared,
    count: int = VARIANTS,
    seed: int = 0,
) -> dict[str, float]:
    """Equation (2) for the nodes in `golden`, name -> array; inf where a variant overflows."""
    largest = dict.fromkeys(golden, 0.0)
    for number in range(count):
        for node, y in variant(model, x, declared, np.random.default_rng((seed, number))):
            if node.name in golden:
                off = abs(y.astype(np.float64) - golden[node.name])
                # Infinite where a variant is not finite: NaN would lose to every maximum.
                most = float(np.where(np.isfinite(off), off, np.inf).max())
                largest[node.name] = max(largest[node.name], most)
    return largest


def variant(
    model: Model, x: Float32, declared: Declared, rng: np.random.Generator
) -> Iterator[tuple[Node, Float32]]:
    """One variant, node by node."""
    last_use = {name: i for i, node in enumerate(model.nodes) for name in node.inputs}
    outputs = {INPUT: rounded(x, declared.storage)}
    for i, node in enumerate(model.nodes):
        inputs = [outputs[name] for name in node.inputs]
        y = rounded(computed(node, inputs, declared, rng), declared.storage)
        outputs[node.name] = y
        for name in set(node.inputs):
            if last_use[name] == i:
                del outputs[name]
        yield node, y


def computed(
    node: Node, inputs: list[Float32], declared: Declared, rng: np.random.Generator
) -> Float32:
    """A node's output in a random legitimate way."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if node.op == "conv":
            z = convolved(node, inputs[0], declared, rng)
            name = node.attributes["activation"]
            return silu(z, rng) if name == "silu" else leaky(z) if name == "leaky" else z
        if node.op == "silu":
            return silu(inputs[0], rng)
        if node.op == "add":
            inputs = [inputs[i] for i in rng.permutation(len(inputs))]
        return run_node(node, inputs, "ref")


def convolved(node: Node, x: Float32, declared: Declared, rng: np.random.Generator) -> Float32:
    """The sum, its channels permuted and in pieces, each piece rounded to the accumulator."""
    weight = rounded(array_of(node.arrays["weight"]).astype(np.float32), declared.storage)
    F, C, R, S = weight.shape
    view = windows(pad(x, node.attributes["padding"]), (R, S), node.attributes["stride"])
    pieces = np.array_split(rng.permutation(C), int(rng.integers(1, min(C, MOST_PIECES) + 1)))
    bias = array_of(node.arrays["bias"])[:, None, None] if "bias" in node.arrays else 0
    if declared.storage != "float32" and rng.integers(2):
        bias = rounded(np.asarray(bias, np.float32), declared.storage)
    total = np.zeros((x.shape[0], F, *view.shape[2:4]), np.float32)
    for k in rng.permutation(len(pieces) + 1):
        if k == len(pieces):
            total = total + bias
        else:
            c = pieces[k]
            part = np.tensordot(view[:, c], weight[:, c], axes=((1, 4, 5), (1, 2, 3)))
            total = total + rounded(part.transpose(0, 3, 1, 2), declared.accumulator)
        total = rounded(total, declared.accumulator)
    return total


def silu(x: Float32, rng: np.random.Generator) -> Float32:
    """Equation (1), one of three."""
    one, half = np.float32(1), np.float32(0.5)
    kind = rng.integers(3)
    if kind == 0:
        return np.where(np.isneginf(x), np.float32(0), x / (one + np.exp(-x)))
    if kind == 1:
        return x * (one / (one + np.exp(-x)))
    return x * (np.tanh(x * half) * half + half)


def leaky(x: Float32) -> Float32:
    return np.where(x > 0, x, np.float32(0.1) * x)


def rounded(x: Float32, name: str) -> Float32:
    """float32 numbers rounded to a type of declared.py, as float32."""
    if name == "float16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    dropped = {"bfloat16": 16, "tf32": 13}.get(name)
    if dropped is None:
        return np.asarray(x, np.float32)
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.int64)
    half = (1 << (dropped - 1)) - 1
    bits = (bits + half + ((bits >> dropped) & 1)) >> dropped << dropped  # half to even
    return np.where(np.isfinite(x), bits.astype(np.uint32).view(np.float32), x)
