"""A plot's frame: numbers to pixels, round ticks, room around the values."""

import pytest

from refquant.drawing.frame import Frame, span, tick, ticks
from refquant.drawing.svg import Line, Text


def test_ticks_are_round_numbers_within_the_span():
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(3.1, 9.2) == [4, 5, 6, 7, 8, 9]
    assert ticks(-0.03, 0.01) == pytest.approx([-0.03, -0.02, -0.01, 0, 0.01])


def test_a_point_is_put_where_its_numbers_say():
    frame = Frame((0, 10), (0, 1), left=100, top=0, width=200, height=50)
    assert frame.at(5, 0.5) == (200, 25)
    assert frame.at(20, -3) == (300, 50)  # beyond the borders: on them


def test_a_tick_says_no_more_decimals_than_the_distance_needs():
    assert tick(0, 0, -0.05, [-0.05, 0.0], "end").text == "\N{MINUS SIGN}0.05"
    assert tick(0, 0, 2000.0, [0.0, 1000.0, 2000.0], "end").text == "2,000"


def test_a_grid_has_a_line_and_a_number_for_every_tick_and_a_label_for_each_axis():
    frame = Frame((0, 10), (0, 1))
    shapes = frame.grid("across", "up")
    lines = [shape for shape in shapes if isinstance(shape, Line)]
    words = [shape.text for shape in shapes if isinstance(shape, Text)]
    assert len(lines) == len(ticks(0, 10)) + len(ticks(0, 1))
    assert words[:7] == ["0", "2", "4", "6", "8", "10", "across"]
    assert words[7:] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "up"]
    assert shapes == frame.grid_x("across") + frame.grid_y("up")


def test_a_span_of_one_value_or_of_none_is_not_empty():
    assert span([3.0]) == (1.5, 4.5)
    assert span([0.0]) == (-0.5, 0.5)
    low, high = span([])
    assert low < high
