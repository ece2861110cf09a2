"""Codes as a stream of bits."""

import numpy as np
import pytest
from numpy.typing import NDArray

from refquant.arrays.bits import BLOCKS_AT_ONCE, WIDTHS, pack, packed_bytes, unpack
from refquant.arrays.errors import BadInput


def one_number(codes: NDArray, width: int) -> NDArray[np.uint8]:
    """Equations (1) to (3) as one long integer: code i times 2**(i*width), summed."""
    total = sum(int(code) << (i * width) for i, code in enumerate(codes))
    return np.frombuffer(total.to_bytes(-(-len(codes) * width // 8), "little"), np.uint8)


def random_codes(count: int, width: int) -> NDArray:
    rng = np.random.default_rng(count * 10 + width)
    return rng.integers(0, 2**width, count).astype(np.uint16 if width > 8 else np.uint8)


def test_a_worked_example_of_three_bits():
    # 1 | 2 << 3 | 5 << 6 = 1 + 16 + 320 = 337 = 81 + 256
    assert pack(np.array([1, 2, 5], np.uint8), 3).tolist() == [81, 1]
    assert unpack(np.array([81, 1], np.uint8), 3, 3).tolist() == [1, 2, 5]


def test_a_worked_example_of_four_bits():
    assert pack(np.array([0, 1, 1, 3, 4, 15], np.uint8), 4).tolist() == [0x10, 0x31, 0xF4]


def test_a_worked_example_of_nine_bits():
    # 511 | 1 << 9 = 1023 = 255 + 3 * 256, and two bits of the third byte
    codes = unpack(np.array([255, 3, 0], np.uint8), 2, 9)
    assert codes.tolist() == [511, 1] and codes.dtype == np.uint16
    assert pack(codes, 9).tolist() == [255, 3, 0]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_stream_is_the_codes_as_one_number(width):
    for count in [*range(40), 1000]:
        codes = random_codes(count, width)
        assert np.array_equal(pack(codes, width), one_number(codes, width))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_order_of_codes_is_seen_by_that_comparison(width):
    codes = random_codes(40, width)
    assert not np.array_equal(pack(codes[::-1], width), one_number(codes, width))


@pytest.mark.parametrize("width", WIDTHS)
def test_unpacking_undoes_packing(width):
    per_pass = 8 * BLOCKS_AT_ONCE
    for count in (0, 1, 7, 8, 9, per_pass - 1, per_pass, per_pass + 1, 2 * per_pass + 5):
        codes = random_codes(count, width)
        stream = pack(codes, width)
        back = unpack(stream, count, width)
        assert stream.size == packed_bytes(count, width)
        assert np.array_equal(back, codes) and back.dtype == codes.dtype


def test_rows_are_taken_in_row_major_order():
    codes = random_codes(30, 5).reshape(5, 6)
    assert np.array_equal(pack(codes, 5), pack(codes.reshape(-1), 5))
    assert np.array_equal(pack(codes.T, 5), pack(codes.T.reshape(-1), 5))


def test_a_code_that_does_not_fit_is_refused():
    with pytest.raises(BadInput, match="16 does not fit into 4 bits"):
        pack(np.array([1, 16], np.uint8), 4)
    assert pack(np.array([1, 15], np.uint8), 4).tolist() == [0xF1]


@pytest.mark.parametrize("size", [0, 3, 5])
def test_a_stream_of_the_wrong_length_is_refused(size):
    with pytest.raises(BadInput, match="10 codes of 3 bits need 4"):
        unpack(np.zeros(size, np.uint8), 10, 3)


def test_bits_after_the_last_code_are_refused():
    assert unpack(np.array([0b00111111], np.uint8), 2, 3).tolist() == [7, 7]
    for bit in (6, 7):
        with pytest.raises(BadInput, match="bits after the last of 2 codes"):
            unpack(np.array([0b00111111 | 1 << bit], np.uint8), 2, 3)


@pytest.mark.parametrize("width", [0, -1, 10])
def test_other_widths_are_refused(width):
    with pytest.raises(BadInput, match=r"choose 1\.\.9"):
        pack(np.zeros(8, np.uint8), width)
    with pytest.raises(BadInput, match=r"choose 1\.\.9"):
        unpack(np.zeros(8, np.uint8), 1, width)
