"""Granularities: which weights share a row, for every name, and the way back."""

import numpy as np
import pytest
from nasty import NASTY

from refquant.arrays.errors import BadInput
from refquant.quant.granularity import GRANULARITIES, find_granularity

NAMES = (*GRANULARITIES, "axes:F,R", "axes:S", "axes:F,C,R,S", "f-shape-swapped")
W = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)  # f*12 + c*4 + r*2 + s


def test_rows_of_a_worked_example():
    expected = {
        "layer": [list(range(24))],
        "filter": [list(range(12)), list(range(12, 24))],
        "channel": [[0, 1, 2, 3, 12, 13, 14, 15], [4, 5, 6, 7, 16, 17, 18, 19],
                    [8, 9, 10, 11, 20, 21, 22, 23]],
        "f-shape": [[i, i + 12] for i in range(12)],
        "c-shape": [[f * 12 + rs + 4 * c for c in range(3)] for f in range(2) for rs in range(4)],
        "axes:R": [[f * 12 + c * 4 + r * 2 + s for f in range(2) for c in range(3)
                    for s in range(2)] for r in range(2)],
    }  # fmt: skip
    for name, rows in expected.items():
        assert find_granularity(name).to_rows(W).tolist() == rows, name


def test_the_swapped_names_are_each_other():
    for name, other in (("f-shape", "c-shape-swapped"), ("c-shape", "f-shape-swapped")):
        assert find_granularity(name) == find_granularity(other)


def test_on_1x1_kernels_f_shape_is_channel_and_c_shape_is_filter():
    w = W.reshape(2, 12, 1, 1)
    for name, other in (("f-shape", "channel"), ("c-shape", "filter")):
        rows = find_granularity(name).to_rows(w)
        assert rows.tolist() == find_granularity(other).to_rows(w).tolist()


def test_blocks_are_even_and_filled_up_with_the_filter_s_last_weight():
    w = np.arange(2 * 70, dtype=np.float32).reshape(2, 70, 1, 1)  # 3 blocks of 24: 2 copies
    rows = find_granularity("block-32").to_rows(w)
    assert rows.shape == (6, 24)
    assert rows[2].tolist() == [*range(48, 70), 69, 69]
    assert rows[3, 0] == 70
    assert find_granularity("block-128").to_rows(w).shape == (2, 70)


@pytest.mark.parametrize("name", NAMES)
def test_rows_lead_back_to_the_weight(name):
    granularity = find_granularity(name)
    for w in NASTY.values():
        rows = granularity.to_rows(w)
        assert rows.shape == granularity.rows_shape(w.shape)
        assert np.array_equal(granularity.from_rows(rows, w.shape), w)


@pytest.mark.parametrize("name", NAMES)
def test_other_rows_lead_elsewhere(name):
    granularity, w = find_granularity(name), NASTY["normal"]
    rows = granularity.to_rows(w)
    assert not np.array_equal(granularity.from_rows(rows[:, ::-1][::-1], w.shape), w)


@pytest.mark.parametrize("name", ["axes:", "axes:X", "axes:F,F", "axes:F,", "filters", ""])
def test_an_unknown_granularity_lists_the_choices(name):
    with pytest.raises(BadInput, match="filter"):
        find_granularity(name)


def test_an_axis_set_is_named_in_the_order_of_the_axes():
    assert find_granularity("axes:R,F").name == "axes:F,R"
