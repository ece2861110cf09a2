"""The audit's pictures: bars, levels and breakpoints stand where the numbers say."""

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.auditing.plot import FEW_LEVELS, group_plot, layers_plot
from refquant.drawing.svg import Box, Drawing, Line, Text
from refquant.quant.tensor import quantize

W = np.random.default_rng(0).standard_normal((2, 16, 3, 3)).astype(np.float32)


def blue(drawing: Drawing) -> list[float]:
    """The x pixels of the levels."""
    return [s.points[0][0] for s in drawing.shapes if isinstance(s, Line) and s.colour == "blue"]


def dashed(drawing: Drawing) -> list[Line]:
    return [s for s in drawing.shapes if isinstance(s, Line) and s.dash]


def bars(drawing: Drawing) -> list[Box]:
    return [s for s in drawing.shapes if isinstance(s, Box)]


def test_a_worked_example():
    w = np.array([0.0, 0.0, 0.0, 15.0], np.float32).reshape(1, 4, 1, 1)  # levels 0 and 15
    drawing = group_plot(quantize(w, bits=4), w, 0, "t", "n")
    low, high = bars(drawing)  # eleven bins of which two hold weights
    left, right = blue(drawing)
    assert left == pytest.approx(low.x) and right == pytest.approx(high.x + high.width)
    assert low.height == pytest.approx(3 * high.height)
    assert [bar.tip for bar in (low, high)] == ["3 of 4 weights", "1 of 4 weights"]
    assert dashed(drawing) == []


@pytest.mark.parametrize("scheme", ["affine", "pwlq", "pwlq+bc", "lloyd-max"])
def test_every_level_that_occurs_is_a_line_and_every_weight_is_in_a_bar(scheme):
    q = quantize(W, scheme=scheme, bits=3)
    drawing = group_plot(q, W, 1, "t", "n")
    assert len(blue(drawing)) == len(np.unique(q.codes[1]))
    assert sum(int(bar.tip.split()[0]) for bar in bars(drawing)) == W[1].size
    assert len(dashed(drawing)) == (2 if "pwlq" in scheme else 0)


def test_without_the_float_model_the_bars_are_those_of_the_levels():
    q = quantize(W, bits=3)
    assert group_plot(q, None, 1, "t", "n") == group_plot(q, q.dequantize(), 1, "t", "n")
    assert group_plot(q, None, 1, "t", "n") != group_plot(q, W, 1, "t", "n")


def test_many_levels_lie_behind_the_histogram_and_few_before_it():
    def first_level_is_behind(bits: int) -> bool:
        shapes = group_plot(quantize(W, bits=bits), W, 0, "t", "n").shapes
        level = next(i for i, s in enumerate(shapes) if isinstance(s, Line) and s.colour == "blue")
        return level < next(i for i, s in enumerate(shapes) if isinstance(s, Box))

    assert len(np.unique(quantize(W, bits=8).codes[0])) > FEW_LEVELS
    assert [first_level_is_behind(bits) for bits in (3, 8)] == [False, True]


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30])
def test_a_group_of_one_value_has_a_picture(value):
    w = np.full((1, 4, 1, 1), value, np.float32)
    assert len(bars(group_plot(quantize(w, bits=4), w, 0, "t", "n"))) == 1


def layer(name: str, sqnr_db: float | None, bits: int = 4) -> dict:
    return {"name": name, "sqnr_db": sqnr_db, "scheme": "affine", "granularity": "filter",
            "bits": bits}  # fmt: skip


def test_layers_have_bars_as_high_as_their_sqnr_on_one_line():
    drawing = layers_plot([layer("a", 10.0), layer("b", 20.0), layer("c", -5.0)])
    a, b, c = bars(drawing)
    assert b.height == pytest.approx(2 * a.height) and c.height == pytest.approx(a.height / 2)
    assert a.y + a.height == pytest.approx(b.y + b.height) == pytest.approx(c.y)
    names = [s.text for s in drawing.shapes if isinstance(s, Text) and s.upright]
    assert names == ["SQNR (dB)", "a", "b", "c"]
    assert "affine, filter, 4 bits" in drawing.title
    mixed = layers_plot([layer("a", 10.0), layer("b", 20.0, bits=5)])
    assert "2 ways of quantizing" in mixed.title


def test_layers_without_a_finite_sqnr_are_left_out_and_none_at_all_is_refused():
    rows = [layer("a", None), layer("b", float("inf"))]
    assert [bar.tip for bar in bars(layers_plot([*rows, layer("c", 1.5)]))] == ["c: 1.5 dB"]
    with pytest.raises(BadInput, match="--against"):
        layers_plot(rows)
