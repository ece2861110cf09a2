"""The fast convolution: worked by hand, equal to ref over a sweep of geometries.

The definition runs in NumPy and is slow, so the wide sweeps compare with `conv_loops`, which
test_conv.py holds to the definition; a narrower sweep compares with the definition itself.
"""

import numpy as np
import pytest
from arrays_of_interest import SPECIAL, any_float32, same_bits

from refquant.engine import conv_step
from refquant.engine.blocked import product_order
from refquant.engine.conv_fast import conv_fast, new_map
from refquant.engine.loops import conv_loops
from refquant.engine.panels import panels_of
from refquant.engine.tiles import HALF, NARROW, TILES, WIDE, vectors_for
from refquant.ops.conv import conv_ref

ACTIVATIONS = ("linear", "silu", "leaky", "sigmoid")


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def case(seed, channels, filters, kernel, height, width):
    """x, weight, bias of a geometry."""
    x = normal(seed, 1, channels, height, width)
    return x, normal(seed + 1, filters, channels, kernel, kernel), normal(seed + 2, filters)


def test_outputs_of_a_worked_example():
    x = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)  # rows 1 2 3, 4 5 6, 7 8 9
    weight = np.array([[[[1, 2], [3, 4]]]], np.float32)
    # Upper left window: 1*1 + 2*2 + 4*3 + 5*4 = 37.
    y = conv_fast(x, weight, np.array([0.5], np.float32))
    assert y.tolist() == [[[[37.5, 47.5], [67.5, 77.5]]]]


def test_the_order_of_products_of_a_worked_example():
    # 17 channels, 1 row and 2 columns: 16 channels at column 0, the same at column 1, then
    # channel 16.
    order = product_order(17, 1, 2).tolist()
    assert order[0] == [0, 0, 0]
    assert order[15:17] == [[15, 0, 0], [0, 0, 1]]
    assert order[31:] == [[15, 0, 1], [16, 0, 0], [16, 0, 1]]


@pytest.mark.parametrize("channels", [3, 8, 24, 130])
def test_channels_that_do_not_exist_do_not_touch_the_sign_of_zero(channels):
    # Only the last channel of a K-block counts: -2^-149 * 2^-149 underflows to acc = -0.0, and the
    # total stays -0.0 + -0.0 = -0.0. One channel more, multiplied by zero, would make acc +0.0.
    x, weight = (np.zeros((1, channels, 1, 1), np.float32) for _ in range(2))
    for last in {min(channels, 128) - 1, channels - 1}:
        x[0, last], weight[0, last] = -1e-45, 1e-45
    y = conv_fast(x, weight, np.array([-0.0], np.float32))
    assert same_bits(y, np.full((1, 1, 1, 1), -0.0, np.float32))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 6])
def test_fast_equals_ref_bit_for_bit(kernel, stride):
    x, weight, bias = case(kernel, 19, 21, kernel, 9, 11)
    for padding, activation in zip((0, 1, kernel // 2, 2), ACTIVATIONS):
        options = {"stride": stride, "padding": padding, "activation": activation}
        ref = conv_ref(x, weight, bias, **options)
        assert same_bits(conv_fast(x, weight, bias, **options), ref)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 6])
def test_fast_equals_loops_over_every_width(kernel, stride):
    for width in range(1, 41):
        padding = max(0, kernel - width, kernel // 2 * (width % 2))
        height = 1 + width * 7 % 13
        padding = max(padding, kernel - height)
        x, weight, bias = case(width, 1 + width % 20, 1 + width * 5 % 37, kernel, height, width)
        options = {"stride": stride, "padding": padding}
        assert same_bits(
            conv_fast(x, weight, bias, **options), conv_loops(x, weight, bias, **options)
        ), (width, height, padding)


@pytest.mark.parametrize("kernel", [1, 3])
def test_fast_equals_loops_over_every_number_of_channels(kernel):
    for channels in (*range(1, 131), 255):
        filters = 255 if channels == 255 else 131 - channels
        x, weight, bias = case(channels, channels, filters, kernel, 4, 5)
        options = {"padding": kernel // 2, "activation": ACTIVATIONS[channels % 4]}
        assert same_bits(
            conv_fast(x, weight, bias, **options), conv_loops(x, weight, bias, **options)
        ), channels


@pytest.mark.parametrize("tiles", [(WIDE, NARROW), (HALF, NARROW), (NARROW,)])
def test_the_tile_changes_no_bit(tiles):
    for filters in (64, 32, 48, 255):
        x, weight, bias = case(filters, 40, filters, 3, 7, 9)
        ref = conv_loops(x, weight, bias, padding=1)
        assert same_bits(conv_fast(x, weight, bias, padding=1, tiles=tiles), ref)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("room", [1, 30_000, 10**9])
def test_how_the_work_is_cut_and_shared_changes_no_bit(monkeypatch, threads, room):
    monkeypatch.setattr(conv_step, "CACHE", room)
    x, weight, bias = case(5, 70, 128, 3, 23, 19)
    ref = conv_loops(x, weight, bias, padding=1, activation="silu")
    options = {"padding": 1, "activation": "silu", "threads": threads}
    assert same_bits(conv_fast(x, weight, bias, **options), ref)


@pytest.mark.parametrize("threads", [1, 2])
def test_items_cover_all_rows(threads):
    panels = panels_of(normal(1, 64, 64, 3, 3), 4)
    y, _ = new_map(64, 50, 41, 0)
    bounds = conv_step.item_bounds(y, panels, 1, threads)
    assert bounds[0] == 0
    assert bounds[-1] == 50
    assert (np.diff(bounds) > 0).all()


def test_tiles_fill_every_row_but_those_of_1_2_3_and_7_pixels():
    for columns in range(1, 100):
        for tiles in (WIDE, HALF, NARROW):
            *many, left = tiles.split(columns)
            assert np.dot(many, tiles.pixels) + left == columns
            assert left < tiles.pixels[-1]
            if tiles != HALF:
                assert (left > 0) == (columns in (1, 2, 3, 7))
    assert WIDE.split(20) == (0, 4, 0, 0)


# With x = -0.25 the product is -0.0, rounded. A sum of these that leaves out the padding below or
# beside the map is -0.0, where one that adds 0.0 * weight for it is +0.0.
TINY = np.float32(1e-45)


@pytest.mark.parametrize("weight", [TINY, np.inf, np.nan, 3e38])
@pytest.mark.parametrize("bias", [0.0, -0.0, 1.0, None])
@pytest.mark.parametrize(
    ("kernel", "padding", "rows", "columns"),
    [(3, 1, 1, 5), (3, 1, 5, 5), (3, 1, 8, 8), (6, 2, 9, 12), (3, 4, 2, 5), (1, 2, 3, 5)],
)
def test_taps_in_the_padding_change_no_bit(weight, bias, kernel, padding, rows, columns):
    x = np.full((1, 18, rows, columns), -0.25, np.float32)
    weight = np.full((16, 18, kernel, kernel), weight, np.float32)
    bias = bias if bias is None else np.full(16, bias, np.float32)
    for stride in (1, 2):
        options = {"stride": stride, "padding": padding}
        with np.errstate(all="ignore"):
            ref = conv_ref(x, weight, bias, **options)
        assert same_bits(conv_fast(x, weight, bias, **options), ref)


@pytest.mark.parametrize("columns", [5, 8])  # rows of the kernel only, columns too
@pytest.mark.parametrize(("weight", "bias"), [(np.inf, 0.0), (TINY, -0.0)])
def test_leaving_them_out_where_it_matters_would_be_noticed(monkeypatch, weight, bias, columns):
    x = np.full((1, 18, 8, columns), -0.25, np.float32)
    weight, bias = np.full((16, 18, 3, 3), weight, np.float32), np.full(16, bias, np.float32)
    fast = conv_fast(x, weight, bias, padding=1)
    constants = conv_step.conv_constants

    def careless(*arguments):
        return constants(*arguments)._replace(all_taps=False)

    monkeypatch.setitem(conv_fast.__globals__, "conv_constants", careless)
    differs = conv_fast(x, weight, bias, padding=1).view(np.uint32) != fast.view(np.uint32)
    assert differs[..., -1, 2].all()
    assert differs[..., 3, -1].all() == (columns == 8)


def test_numbers_of_every_kind_pass_through():
    x = np.resize(SPECIAL, (1, 20, 9, 8))
    weight = np.random.default_rng(1).choice(SPECIAL, (35, 20, 3, 3)).astype(np.float32)
    for activation in ACTIVATIONS:
        fast, loops = (
            f(x, weight, padding=1, activation=activation) for f in (conv_fast, conv_loops)
        )
        assert same_bits(fast, loops)


def test_random_bit_patterns_pass_through():
    x, weight = any_float32(6 * 8 * 8, 1).reshape(1, 6, 8, 8), any_float32(16 * 6, 2)
    weight = weight.reshape(16, 6, 1, 1)
    with np.errstate(invalid="ignore"):
        assert same_bits(conv_fast(x, weight), conv_loops(x, weight))


def test_a_batch_is_one_image_after_another():
    x, weight = normal(1, 3, 5, 6, 7), normal(2, 9, 5, 3, 3)
    together = conv_fast(x, weight, padding=1)
    assert same_bits(together, np.concatenate([conv_fast(i[None], weight, padding=1) for i in x]))


def test_a_filter_group_never_hangs_over_the_last_filters():
    for filters in range(1, 300):
        for tiles in ((WIDE, HALF, NARROW), (NARROW,)):
            assert -(-filters // 16) % vectors_for(filters, tiles) == 0
    assert set(TILES) == {1, 2, 4}


def test_a_flipped_bit_an_exchanged_order_and_a_lost_rounding_are_noticed():
    x, weight, bias = case(3, 40, 16, 3, 6, 6)
    fast = conv_fast(x, weight, bias)
    flipped = weight.copy()
    flipped.view(np.uint32)[0, 0, 0, 0] ^= 1 << 14
    assert not same_bits(conv_fast(x, flipped, bias), fast)
    # The same sum with channels 0 and 1 exchanged.
    order = [1, 0, *range(2, 40)]
    assert not same_bits(conv_fast(x[:, order], weight[:, order], bias), fast)
    # One rounding more per step: the product is rounded before it is added.
    assert not same_bits(conv_with_rounded_products(x, weight, bias), fast)


def conv_with_rounded_products(x, weight, bias):
    """conv_ref with x * w rounded to float32 before the sum."""
    y = np.empty((1, 16, 4, 4), np.float32)
    for p, q in np.ndindex(4, 4):
        total = bias.copy()
        for k in range(0, 40, 16):
            acc = np.zeros(16, np.float32)
            for c, r, s in product_order(min(16, 40 - k), 3, 3):
                acc = acc + x[0, k + c, p + r, q + s] * weight[:, k + c, r, s]
            total = total + acc
        y[0, :, p, q] = total
    return y
