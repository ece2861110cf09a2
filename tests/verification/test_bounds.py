"""The bounds: worked by hand, kept by other right ways to compute, and broken by wrong ones."""

from dataclasses import replace

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.engine.walk import run_node, walk
from refquant.graph.architecture import build
from refquant.graph.graph import Node
from refquant.ops.catalogue import OPS
from refquant.verification.bounds import BOUNDS, enclose
from refquant.verification.declared import Declared
from refquant.verification.enclosed import Enclosed, given

PLAIN = Declared()
U = 2.0**-24


def conv(weight, bias=None, stride=1, padding=0, activation="linear", **magnitudes) -> Node:
    arrays = {"weight": np.asarray(weight, np.float32), **magnitudes}
    if bias is not None:
        arrays["bias"] = np.asarray(bias, np.float32)
    attributes = {"stride": stride, "padding": padding, "activation": activation}
    return Node("c", "conv", ("x",), attributes, arrays)


def numbers(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def outside(y: np.ndarray, enclosed: Enclosed) -> int:
    """Elements farther off than the bound."""
    return int((abs(y - enclosed.value) > enclosed.bound).sum())


def test_bound_of_a_worked_example():
    # 2*3 - 4*1 + 0.5: n = 2, T = 6 + 4 + 0.5, bound 3u*T + 2*2**-150, the oracle 2*2**-53*T.
    node = conv(np.array([3, -1]).reshape(1, 2, 1, 1), [0.5])
    y = enclose(node, [given(np.array([2, 4]).reshape(1, 2, 1, 1))], PLAIN)
    assert y.value.item() == 2.5
    own = 3 * U * 10.5 + 2 * 2.0**-150 + 2 * 2.0**-53 * 10.5
    assert y.bound.item() == pytest.approx(own + 8 * 2.0**-53 * (2.5 + own), rel=1e-12)


def test_bound_of_an_input_passes_through_the_weights():
    node = conv(np.array([3, -1]).reshape(1, 2, 1, 1))
    x = np.array([2.0, 4.0]).reshape(1, 2, 1, 1)
    spread = enclose(node, [Enclosed(x, np.array([0.1, 0.2]).reshape(x.shape))], PLAIN)
    assert spread.bound.item() == pytest.approx(3 * 0.1 + 0.2, rel=1e-5)


def test_moves_are_exact_and_maxima_take_the_largest_bound():
    x = Enclosed(np.arange(16.0).reshape(1, 1, 4, 4), np.zeros((1, 1, 4, 4)))
    x.bound[0, 0, 0, 0] = 7
    pool = Node("p", "max_pool", ("x",), {"kernel": 2, "stride": 2, "padding": 0})
    y = enclose(pool, [x], PLAIN)
    assert y.value.tolist() == [[[[5, 7], [13, 15]]]]
    assert (y.bound > 0).tolist() == [[[[True, False], [False, False]]]]
    up = enclose(Node("u", "upsample", ("x",), {"scale": 2}), [given(x.value)], PLAIN)
    assert not up.bound.any()


def test_every_operation_has_a_bound():
    assert set(BOUNDS) == set(OPS)


@pytest.mark.parametrize("architecture", ["yolov7", "yolov7-tiny"])
@pytest.mark.parametrize("folded", [True, False])
def test_our_own_float32_keeps_every_bound(architecture, folded):
    model = build(architecture, 1 / 8, classes=2, implicit=True, folded=folded)
    x = np.random.default_rng(1).random((1, 3, 64, 64), np.float32)
    outputs = {"images": x}
    for node, y in walk(model, x):
        inputs = [given(outputs[name]) for name in node.inputs]
        assert outside(y, enclose(node, inputs, PLAIN)) == 0, node.name
        outputs[node.name] = y


def test_bounds_that_pass_through_the_whole_network_hold():
    model = build("yolov7-tiny", 1 / 8, classes=2)
    x = np.random.default_rng(1).random((1, 3, 64, 64), np.float32)
    known = {"images": given(x)}
    for node, y in walk(model, x):
        known[node.name] = enclose(node, [known[name] for name in node.inputs], PLAIN)
        assert outside(y, known[node.name]) == 0, node.name


@pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
def test_any_order_of_a_float32_sum_keeps_the_bound(order):
    x, w = numbers((1, 64, 1, 1), 1), numbers((1, 64, 1, 1), 2)
    products = (x * w).reshape(-1)
    if order == "backward":
        products = products[::-1]
    if order == "shuffled":
        products = np.random.default_rng(0).permutation(products)
    total = np.float32(0)
    for product in products:
        total = total + product
    enclosed = enclose(conv(w), [given(x)], PLAIN)
    assert outside(total, enclosed) == 0


def test_one_product_missing_breaks_the_bound():
    x, w = numbers((1, 64, 4, 4), 1), numbers((8, 64, 1, 1), 2)
    node = conv(w)
    enclosed = enclose(node, [given(x)], PLAIN)
    missing = w.copy()
    missing[:, 17] = 0
    assert outside(run_node(conv(missing), [x]), enclosed) > 0.95 * enclosed.value.size


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_narrow_storage_keeps_the_declared_bound_and_breaks_the_other(storage):
    x, w, b = numbers((1, 32, 8, 8), 1), numbers((16, 32, 3, 3), 2), numbers((16,), 3)
    node = conv(w, b, padding=1, activation="silu")
    x = rounded(x, storage)
    narrow = conv(rounded(w, storage), rounded(b, storage), padding=1, activation="silu")
    y = rounded(run_node(narrow, [x]), storage)
    assert outside(y, enclose(node, [given(x)], Declared(storage=storage))) == 0
    assert outside(y, enclose(node, [given(x)], PLAIN)) > 0


def test_a_bias_stored_narrow_keeps_the_bound_where_it_is_all_there_is():
    # The bias is off by nearly half a step of float16, and so is the sum when it is stored.
    b = np.float32(1 + 2.0**-11 - 2.0**-23)
    x, w = (np.full((1, 1, 1, 1), v, np.float32) for v in (2.0**-11, -0.984375))
    y = rounded(rounded(b, "float16") + x * w, "float16")
    assert outside(y, enclose(conv(w, [b]), [given(x)], Declared(storage="float16"))) == 0


def rounded(x: np.ndarray, storage: str) -> np.ndarray:
    if storage == "float16":
        return x.astype(np.float16).astype(np.float32)
    bits = x.view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return bits.astype(np.uint32).view(np.float32)


def test_a_batch_norm_that_is_not_folded_needs_the_magnitudes():
    # beta and mean * s cancel to 1e-4 of their size: the folded bound knows nothing of them.
    rng = np.random.default_rng(0)
    w, x = numbers((16, 8, 1, 1), 1), numbers((1, 8, 16, 16), 2)
    mean = 1000 * np.ones(16, np.float32)
    beta = (mean + rng.random(16)).astype(np.float32)
    z = run_node(conv(w), [x])
    y = (z - mean[:, None, None]) + beta[:, None, None]
    magnitude = (abs(mean) + abs(beta)).astype(np.float32)
    folded = conv(w, beta.astype(np.float64) - mean, bias_magnitude=magnitude)
    assert outside(y, enclose(folded, [given(x)], PLAIN)) > 0
    assert outside(y, enclose(folded, [given(x)], Declared(folded=False))) == 0


def test_unknown_magnitudes_decide_nothing():
    node = conv(numbers((4, 8, 1, 1)), numbers((4,)), activation="silu")
    y = enclose(node, [given(numbers((1, 8, 4, 4)))], Declared(folded=False))
    assert np.isinf(y.bound).all()


def test_one_magnitude_without_the_other_decides_nothing():
    weight = numbers((4, 8, 1, 1))
    node = conv(weight, numbers((4,)), weight_magnitude=abs(weight))
    x = [given(numbers((1, 8, 4, 4)))]
    assert np.isinf(enclose(node, x, Declared(folded=False)).bound).all()
    assert np.isfinite(enclose(node, x, PLAIN).bound).all()


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b in float32, summed from left to right: a BLAS rounds as the processor likes."""
    total = np.zeros((), np.float32)
    for k in range(a.shape[-1]):
        total = total + a[..., :, k, None] * b[..., k, None, :]
    return total


def winograd_4_3(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """F(4,3) in float32 for one image, padding 1, sides divisible by 4 (Lavin and Gray 2015)."""
    bt = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]]
    bt += [[0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
    g = [[1 / 4, 0, 0], [-1 / 6] * 3, [-1 / 6, 1 / 6, -1 / 6]]
    g += [[1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
    at = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    B, G, A = (np.array(m, np.float32) for m in (bt, g, at))
    padded = np.pad(x[0], ((0, 0), (1, 1), (1, 1)))
    U = times(times(G, w), G.T)
    y = np.empty((w.shape[0], *x.shape[2:]), np.float32)
    for i in range(0, x.shape[2], 4):
        for j in range(0, x.shape[3], 4):
            V = times(times(B, padded[:, i : i + 6, j : j + 6]), B.T)
            M = (U * V).sum(1, dtype=np.float32)
            y[:, i : i + 4, j : j + 4] = times(times(A, M), A.T)
    return y[None]


def fft_conv(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Padding 1, by FFT in complex64."""
    H, W = x.shape[2] + 2, x.shape[3] + 2
    X = np.fft.rfft2(np.pad(x[0], ((0, 0), (1, 1), (1, 1)))).astype(np.complex64)
    K = np.fft.rfft2(w[:, :, ::-1, ::-1], (H, W)).astype(np.complex64)
    y = np.fft.irfft2((X * K).sum(1, dtype=np.complex64), (H, W)).astype(np.float32)
    return y[None, :, 2:, 2:]


@pytest.mark.parametrize("algorithm", [winograd_4_3, fft_conv])
def test_other_algorithms_next_to_zeros_keep_the_bound_of_any(algorithm):
    x, w = numbers((1, 16, 16, 16), 1) * 100, numbers((8, 16, 3, 3), 2)
    x[:, :, 5:9] = 0
    x[:, :, :, 7:12] = 0
    x[:, :, 6, 9] = 1e-6
    y = algorithm(x, w)
    node = conv(w, padding=1)
    assert np.allclose(y, run_node(node, [x]), atol=0.1)
    assert outside(y, enclose(node, [given(x)], PLAIN)) > 0
    enclosed = enclose(node, [given(x)], Declared(algorithm="any"))
    assert np.isfinite(enclosed.bound).all()
    assert outside(y, enclosed) == 0


def test_flushing_is_allowed_where_declared():
    x = np.full((1, 4, 2, 2), 2.0**-130, np.float32)
    node = conv(np.ones((1, 4, 1, 1)))
    zero = np.zeros((1, 1, 2, 2), np.float32)
    assert outside(zero, enclose(node, [given(x)], PLAIN)) == 4
    assert outside(zero, enclose(node, [given(x)], Declared(flush=True))) == 0


def test_a_float16_accumulator_of_many_terms_decides_nothing():
    declared = Declared(storage="float16", accumulator="float16")
    few = enclose(conv(numbers((1, 256, 1, 1))), [given(numbers((1, 256, 1, 1)))], declared)
    many = enclose(conv(numbers((1, 512, 1, 1))), [given(numbers((1, 512, 1, 1)))], declared)
    assert np.isfinite(few.bound).all()
    assert np.isinf(many.bound).all()


def test_what_may_overflow_decides_nothing():
    declared = Declared(storage="float16")
    x = given(np.full((1, 2, 1, 1), 300.0))
    large = enclose(conv(np.full((1, 2, 1, 1), 200.0)), [x], declared)
    assert np.isinf(large.bound).all()


@pytest.mark.parametrize("x", [-30.0, -18.5, -10.0, -1.278, 0.0, 1e-30, 3.0, 88.0, 1e30])
def test_a_sigmoid_within_its_declared_error_keeps_the_bound_of_silu(x):
    node = Node("s", "silu", ("x",))
    enclosed = enclose(node, [given(np.array([[[[x]]]]))], PLAIN)
    sigmoid = OPS["sigmoid"].math(np.float64(x))
    for error in (-1, 1):
        off = max(0.0, sigmoid + error * 0.99 * 2.0**-21)
        assert outside(np.float32(np.float32(x) * np.float32(off)), enclosed) == 0
    assert outside(enclosed.value + 0.01 * max(1, abs(x)), enclosed) == 1


def test_unknown_types_are_refused_by_name():
    with pytest.raises(BadInput, match="float8"):
        Declared(storage="float8").checked()
    with pytest.raises(BadInput, match="choose"):
        Declared(algorithm="fast").checked()


def test_a_nan_input_gives_no_bound_that_holds():
    node = replace(conv(np.ones((1, 1, 1, 1))))
    y = enclose(node, [given(np.full((1, 1, 1, 1), np.nan))], PLAIN)
    assert not np.isfinite(y.value).any()
