"""What is said beside a wrong node: which declaration would excuse it, and which would not."""

import numpy as np
from faulty_ports import W, X, conv, run, summed

from refquant.graph.graph import Node
from refquant.ops.activation import ACTIVATIONS
from refquant.verification.algorithms import convolved_by
from refquant.verification.declared import Declared
from refquant.verification.enclosed import given
from refquant.verification.explanation import explanation
from refquant.verification.node_verdict import verdict_of


def said(node: Node, x: np.ndarray, found: np.ndarray) -> tuple[str | None, str]:
    """The cause and the note of an output that is wrong where nothing is declared."""
    right = run(node, x)
    assert verdict_of(node, [given(x)], found, Declared()).word == "wrong"
    row = explanation(node, [given(x)], found, right, Declared())
    return row["cause"], row.get("note", "")


def test_float16_sums_with_float32_outputs_are_to_be_declared():
    found = ACTIVATIONS["silu"].ref(summed("float16"))
    assert said(conv(), X, found) == (
        "float16 accumulation", "to be declared: --accumulator float16",
    )  # fmt: skip


def winograd_beside_zeros() -> tuple[Node, np.ndarray, np.ndarray]:
    """F(4,3) on few channels, where a large column spoils the small sums of its tile."""
    rng = np.random.default_rng(0)
    x = rng.random((1, 3, 16, 16)).astype(np.float32)
    x[:, :, :, np.arange(16) != 6] *= np.float32(1e-4)
    node = conv(rng.standard_normal((8, 3, 3, 3)).astype(np.float32), np.zeros(8, np.float32))
    total = convolved_by("winograd4", x, node.arrays["weight"], 1)
    return node, x, ACTIVATIONS["silu"].ref(total)


def test_another_algorithm_is_offered_where_evidence_bears_it_out():
    assert said(*winograd_beside_zeros()) == (None, "consistent where declared: --algorithm any")


def test_another_algorithm_is_not_offered_for_what_it_would_not_explain():
    node, x, found = winograd_beside_zeros()
    off = found - run(node, x)
    assert said(node, x, found + 100 * off) == (None, "")
    noise = W * (1 + np.random.default_rng(1).standard_normal(W.shape) / 100)
    assert said(conv(), X, run(conv(noise.astype(np.float32)), X)) == (None, "")
