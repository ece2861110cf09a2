"""Legitimate variants: the same arithmetic in other orders, to see how right results spread.

One variant of a convolution permutes its input channels at random, cuts them into a random number
of pieces, adds each piece by a matrix product (the BLAS's own order), then the pieces and the bias
in random order. Every SiLU takes one of three formulas:
    x * s,  s = 1 / (1 + exp(-x)),  also as a quotient,  or  s = tanh(x / 2) / 2 + 1 / 2    (1)
Values are rounded to the declared storage type after every node, weights before; a bias, sums
before the bias and before an activation, and the sigmoid or slope in it are, or are not; partial
sums to the declared accumulator, piece by piece. What else is declared is done, too:
    algorithm any      one of direct sums, Winograd F(2,3), F(4,3), FFT (algorithms.py)     (2)
    not folded         (sum + B) - B with B the magnitude of the bias, and sums with w + W
                       less those with W, of which W is that of the weight (RepConv)        (3)
    a coarse sigmoid   s + d with |d| = absolute + relative * 2**-24 * s, of one sign or of
                       signs at random, also in the decode                                  (4)

Two measures of how far y^ is off, for evidence.py:
    k of the network   max |y^ - golden| / max over >= 32 variants of max |variant - golden|,
                       both from the golden's input                                         (5)
    k of a node        T(y^) / max over variants of T(variant), both from the other side's
                       own inputs to the node, T(y) = max over channels c of
                       max |y - value| / max of the plain bound, over the elements of c     (6)
                       (local_evidence.py)

If the other side is one more such variant, k > 1 has a chance of 1 in n + 1 at a node: evidence,
never proof. The variants of (6) are DRAWS for each declaration that takes some of what is declared
and leaves the rest, so a wider declaration has all variants of a narrower one among its own; and
for a narrow accumulator sums product by product, for which pieces are too kind. Memory: that of a
forward pass; time: one forward pass of NumPy per variant of (5).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from refquant.engine.walk import run_node
from refquant.graph.graph import INPUT, Model, Node, array_of
from refquant.ops.activation import sigmoid_math
from refquant.ops.conv import pad, windows
from refquant.verification.algorithms import ALGORITHMS, applies, convolved_by
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
    """What (5) divides by, for the nodes in `golden`, name -> array; inf where one overflows."""
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
    node: Node, inputs: Sequence[Float32], declared: Declared, rng: np.random.Generator
) -> Float32:
    """A node's output in a random legitimate way."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if node.op == "conv":
            z = convolved(node, inputs[0], declared, rng)
            z = rounded(z, declared.storage) if rng.integers(2) else z
            name = node.attributes["activation"]
            return activated(name, z, declared, rng)
        if node.op in ("silu", "leaky"):
            return activated(node.op, inputs[0], declared, rng)
        if node.op == "add":
            inputs = [inputs[i] for i in rng.permutation(len(inputs))]
        if node.op in ("decode", "sigmoid") and is_coarse(declared):
            inputs = [shifted(x, declared, rng) for x in inputs]
        return run_node(node, list(inputs), "ref")


def convolved(node: Node, x: Float32, declared: Declared, rng: np.random.Generator) -> Float32:
    """The sum, its channels permuted and in pieces, each piece rounded to the accumulator."""
    weight = rounded(array_of(node.arrays["weight"]).astype(np.float32), declared.storage)
    bias = bias_of(node, declared, rng)
    if not declared.folded and "weight_magnitude" in node.arrays:  # (3)
        large = array_of(node.arrays["weight_magnitude"]).astype(np.float32)
        terms = [bias, *parts(node, x, weight + large, declared, rng)]
        terms += [-part for part in parts(node, x, large, declared, rng)]
    else:
        terms = [bias, *parts(node, x, weight, declared, rng)]
    if not declared.folded and "bias_magnitude" in node.arrays:  # (3)
        offset = array_of(node.arrays["bias_magnitude"]).astype(np.float32)[:, None, None]
        terms += [offset, -offset]
    total = np.zeros_like(terms[1])
    order = rng.permutation(len(terms))
    if declared.storage != "float32" and rng.integers(2):  # the bias is added to what was stored
        bias, order = terms[0], order[order != 0]
    for k in order:
        total = rounded(total + terms[k], declared.accumulator)
    return rounded(total, declared.storage) + bias if len(order) < len(terms) else total


def bias_of(node: Node, declared: Declared, rng: np.random.Generator) -> Float32:
    """The bias (F, 1, 1), rounded to the storage type or not; zero where there is none."""
    if "bias" not in node.arrays:
        return np.zeros((1, 1, 1), np.float32)
    bias = array_of(node.arrays["bias"]).astype(np.float32)[:, None, None]
    narrow = declared.storage != "float32" and rng.integers(2)
    return rounded(bias, declared.storage) if narrow else bias


def parts(
    node: Node, x: Float32, weight: Float32, declared: Declared, rng: np.random.Generator
) -> Iterator[Float32]:
    """The sum of products (N, F, P, Q) in pieces, or by one of the algorithms of (2)."""
    _, C, R, S = weight.shape
    stride, padding = node.attributes["stride"], node.attributes["padding"]
    if declared.algorithm == "any":
        ways = [way for way in ALGORITHMS if applies(way, x, weight, stride)]
        chosen = rng.integers(len(ways) + 1)
        if chosen < len(ways):
            yield convolved_by(ways[chosen], x, weight, padding)
            return
    view = windows(pad(x, padding), (R, S), stride)
    pieces = np.array_split(rng.permutation(C), int(rng.integers(1, min(C, MOST_PIECES) + 1)))
    for c in pieces:
        part = np.tensordot(view[:, c], weight[:, c], axes=((1, 4, 5), (1, 2, 3)))
        yield rounded(part.transpose(0, 3, 1, 2), declared.accumulator)


def activated(name: str, z: Float32, declared: Declared, rng: np.random.Generator) -> Float32:
    """An activation by its name, or none."""
    if name == "silu":
        return silu(z, declared, rng)
    if name != "leaky":
        return z
    slope = np.full(1, 0.1, np.float32)  # rounded to the storage type, or not
    return np.where(z > 0, z, (rounded(slope, declared.storage) if rng.integers(2) else slope) * z)


def silu(x: Float32, declared: Declared, rng: np.random.Generator) -> Float32:
    """Equation (1), one of three, or (4)."""
    one, half = np.float32(1), np.float32(0.5)
    kind = rng.integers(3)
    if declared.storage != "float32" and rng.integers(2):
        x = rounded(x, declared.storage)
        return x * rounded(one / (one + np.exp(-x)), declared.storage)
    if is_coarse(declared):
        return x * coarse_sigmoid(x, declared, rng)
    if kind == 0:
        return np.where(np.isneginf(x), np.float32(0), x / (one + np.exp(-x)))
    if kind == 1:
        return x * (one / (one + np.exp(-x)))
    return x * (np.tanh(x * half) * half + half)


def is_coarse(declared: Declared) -> bool:
    """Whether a coarser sigmoid is declared than libraries have."""
    usual = Declared().sigmoid
    return any(a > b for a, b in zip(declared.sigmoid, usual, strict=True))


def coarse_sigmoid(x: Float32, declared: Declared, rng: np.random.Generator) -> Float32:
    """Equation (4), between 0 and 1."""
    absolute, relative = declared.sigmoid
    s = sigmoid_math(x.astype(np.float64))
    signs = rng.choice([-1.0, 1.0], x.shape) if rng.integers(2) else rng.choice([-1.0, 1.0])
    return np.clip(s + signs * (absolute + relative * 2.0**-24 * s), 0, 1).astype(np.float32)


def shifted(x: Float32, declared: Declared, rng: np.random.Generator) -> Float32:
    """Inputs of right sigmoids that give the coarse ones of (4), but for the ends."""
    s = np.clip(coarse_sigmoid(x, declared, rng).astype(np.float64), 1e-12, 1 - 1e-12)
    return np.log(s / (1 - s)).astype(np.float32)


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
