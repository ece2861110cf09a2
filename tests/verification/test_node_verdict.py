"""A node judged alone: what is consistent under which declaration, and what never is."""

from itertools import permutations

import numpy as np
import pytest
from declarations import DECLARED, RANK, narrower

from refquant.engine.walk import run_node
from refquant.graph.graph import Node
from refquant.ops.conv import conv_math
from refquant.verification.algorithms import ALGORITHMS, applies, convolved_by, fft, winograd
from refquant.verification.bounds import enclose
from refquant.verification.declared import PLAIN, Declared
from refquant.verification.enclosed import given
from refquant.verification.local_evidence import measure_of
from refquant.verification.node_verdict import verdict_of
from refquant.verification.variants import computed, rounded

ANY = Declared(algorithm="any")


def layer(C=16, F=8, size=12, seed=0, activation="silu") -> tuple[Node, np.ndarray]:
    """A convolution of 3x3 and an input, of the sizes that layers of a network have."""
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal((F, C, 3, 3)) / np.sqrt(9 * C)).astype(np.float32)
    arrays = {"weight": weight, "bias": rng.standard_normal(F).astype(np.float32)}
    x = np.maximum(rng.standard_normal((1, C, size, size)), -0.2).astype(np.float32)
    attributes = {"stride": 1, "padding": 1, "activation": activation}
    return Node("conv", "conv", ("x",), attributes, arrays), x


def by(node: Node, x, algorithm: str) -> np.ndarray:
    """The node by another algorithm, in one piece."""
    z = convolved_by(algorithm, x, node.arrays["weight"], 1)
    z = z + node.arrays["bias"][:, None, None]
    return z / (1 + np.exp(-z))


def gross(node: Node, x) -> dict[str, np.ndarray]:
    """Outputs of the node with something of it wrong."""
    w = node.arrays["weight"]
    changed = {
        "transposed": w.swapaxes(2, 3),
        "rotated": w[:, :, ::-1, ::-1],
        "a filter of zeros": np.where(np.arange(len(w))[:, None, None, None] == 3, 0, w),
        "two filters exchanged": w[[1, 0, *range(2, len(w))]],
        "zeros": 0 * w,
    }
    found = {}
    for name, other in changed.items():
        arrays = {**node.arrays, "weight": np.ascontiguousarray(other, np.float32)}
        found[name] = run_node(Node("c", "conv", ("x",), node.attributes, arrays), [x])
    found["an element of 0"] = run_node(node, [x]).copy()
    found["an element of 0"].flat[int(abs(found["an element of 0"]).argmax())] = 0
    found["nothing written"] = np.zeros_like(found["zeros"])
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_is_as_near_as_its_bound_says(algorithm):
    node, x = layer(activation="linear")
    y = enclose(node, [given(x)], ANY)
    z = convolved_by(algorithm, x, node.arrays["weight"], 1) + node.arrays["bias"][:, None, None]
    assert (abs(z - y.value) <= y.bound).all()
    assert not (abs(z[:, ::-1] - y.value) <= y.bound).all()


def test_an_algorithm_of_whole_numbers_is_exact_or_nearly():
    x = np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6)
    w = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    right = conv_math(x, w)
    assert np.array_equal(winograd(x, w, 2), right)
    assert abs(winograd(x, w, 4) - right).max() < 1e-2
    assert abs(fft(x, w) - right).max() < 1e-2


def test_where_an_algorithm_applies():
    x, w = np.zeros((1, 2, 9, 9), np.float32), np.zeros((2, 2, 3, 3), np.float32)
    assert [a for a in ALGORITHMS if applies(a, x, w, 1)] == list(ALGORITHMS)
    assert not any(applies(a, x, w, 2) or applies(a, x, w[..., :1, :1], 1) for a in ALGORITHMS)
    large = np.zeros((1, 4096, 640, 640), np.uint8)  # its spectra would take terabytes
    assert not applies("fft", large, np.broadcast_to(w[:1, :1], (4096, 4096, 3, 3)), 1)


@pytest.mark.parametrize("name", DECLARED)
def test_gross_errors_are_consistent_under_no_declaration(name):
    node, x = layer()
    for kind, found in gross(node, x).items():
        verdict = verdict_of(node, [given(x)], found, DECLARED[name])
        assert verdict.word != "consistent", kind
    verdict = verdict_of(node, [given(x)], run_node(node, [x]), DECLARED[name])
    bounded = np.isfinite(
        enclose(node, [given(x)], DECLARED[name]._replace(algorithm="direct")).bound
    )
    assert verdict[:2] == ("consistent", "theorem" if bounded.all() else "evidence")


@pytest.mark.parametrize("C", [3, 24, 160])
def test_right_algorithms_are_consistent_where_declared(C):
    node, x = layer(C)
    for algorithm in ALGORITHMS:
        found = by(node, x, algorithm)
        assert verdict_of(node, [given(x)], found, ANY).word == "consistent", algorithm
        far = found + 5000 * (found - run_node(node, [x]))
        assert verdict_of(node, [given(x)], far, ANY).word in ("wrong", "implausible")


def test_a_wider_declaration_is_never_graver():
    """Right answers in several arithmetics, small and gross errors, over every pair."""
    node, x = layer()
    rng = np.random.default_rng(1)
    answers = {**gross(node, x), "right": run_node(node, [x])}
    answers |= {a: by(node, x, a) for a in ALGORITHMS}
    for name in ("float16 stored", "bfloat16", "not folded", "sigmoid 0.001"):
        made = computed(node, [x], DECLARED[name], rng)
        answers[name] = rounded(made, DECLARED[name].storage)
    for share in (1e-5, 1e-4, 1e-3, 1e-2):
        answers[f"{share} off"] = answers["right"] * np.float32(1 + share)
    for kind, found in answers.items():
        words = {n: verdict_of(node, [given(x)], found, d).word for n, d in DECLARED.items()}
        for a, b in permutations(DECLARED, 2):
            if narrower(DECLARED[a], DECLARED[b]):
                assert RANK[words[b]] <= RANK[words[a]], (kind, a, b, words[a], words[b])


def test_evidence_of_a_node_knows_the_declared_arithmetic():
    node, x = layer()
    assert measure_of(node, [given(x)], by(node, x, "winograd4"), ANY).near
    assert measure_of(node, [given(x)], by(node, x, "winograd4"), Declared()).k > 2
    coarse = Declared(sigmoid=(1e-3, 4.0))
    z = conv_math(x, node.arrays["weight"], node.arrays["bias"], padding=1)
    table = (z * np.rint(512 / (1 + np.exp(-z))) / 512).astype(np.float32)  # off by 1/1024
    assert measure_of(node, [given(x)], table, coarse).k <= 1
    assert measure_of(node, [given(x)], table, Declared()).k > 100


def test_a_node_that_cancels_is_judged_by_its_unfolded_magnitudes():
    """Sums of 1e4 that cancel: right unfolded answers are far from the folded ones."""
    node, x = layer(activation="linear")
    arrays = {**node.arrays, "bias_magnitude": np.full(8, 1e4, np.float32)}
    node = Node("conv", "conv", ("x",), node.attributes, arrays)
    unfolded = Declared(folded=False)
    z = conv_math(x, arrays["weight"], padding=1).astype(np.float32) + np.float32(1e4)
    found = z + (arrays["bias"] - 1e4).astype(np.float32)[:, None, None]
    assert verdict_of(node, [given(x)], found, unfolded).word == "consistent"
    assert verdict_of(node, [given(x)], found, Declared()).word == "wrong"
    assert verdict_of(node, [given(x)], found[:, ::-1], unfolded).word != "consistent"


def test_the_plain_bound_is_that_of_nothing_declared():
    node, x = layer(C=3)
    plain, default = (enclose(node, [given(x)], d) for d in (PLAIN, Declared()))
    assert (plain.bound >= default.bound).all()
    assert (plain.bound <= default.bound + 2.0**-110).all()
