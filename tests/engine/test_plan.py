"""Plans: bands of rows worked by hand, no two maps share memory while both live, misfits."""

import numpy as np
import pytest
from small_graphs import awkward, conv_node, model_of, pool_node

from refquant.arrays.errors import BadInput
from refquant.engine import bands
from refquant.engine.bands import RowSpan, rows_of
from refquant.engine.plan import plan
from refquant.engine.walk import run
from refquant.graph.architecture import build
from refquant.graph.graph import INPUT, Node


def test_rows_of_bands_of_a_worked_example():
    # Two 3x3 convolutions, 8 rows, two bands: the second's rows 0-3 need the first's rows 0-4.
    first, second = (
        conv_node("first", INPUT, 3, 4, 3),
        conv_node("second", "first", 4, 4, 3),
    )
    shapes = {INPUT: (3, 8, 8), "first": (4, 8, 8), "second": (4, 8, 8)}
    rows = rows_of([first, second], shapes, {"second"}, 2)
    assert rows["second"] == [RowSpan(0, 0, 4), RowSpan(4, 4, 8)]
    assert rows["first"] == [
        RowSpan(0, 0, 5),
        RowSpan(3, 5, 8),
    ]  # rows 3 and 4 are kept, not redone


def test_every_row_of_the_stem_is_computed_once():
    model = build("yolov7", 1 / 4)
    stem = plan(model, 640, 640).stem
    assert (stem.length, stem.bands) == (16, 4)
    shapes = plan(model, 640, 640).shapes
    for name, of_bands in stem.rows.items():
        assert [rows.begin for rows in of_bands] == [0, *(rows.end for rows in of_bands[:-1])]
        assert of_bands[-1].end == shapes[name][1]
        assert all(rows.top <= rows.begin <= rows.end for rows in of_bands)


@pytest.mark.parametrize("in_bands", [True, False])
@pytest.mark.parametrize("model", [build("yolov7", 1 / 4), build("yolov7-tiny", 1 / 4), awkward()])
def test_no_two_maps_share_memory_while_both_live(model, in_bands):
    found = plan(model, 320, 416, in_bands=in_bands)
    halos = {key: found.halos.get(key.root, 0) * (not key.kept) for key in found.maps}
    spans = {}
    for key, place in found.maps.items():
        begin = place.address - halos[key] * (place.row + place.pixel)
        spans[key] = (begin, begin + place.plane * place.blocks)
        assert 0 <= spans[key][0] < spans[key][1] <= found.size
    keys = list(spans)
    for i, a in enumerate(keys):
        for b in keys[:i]:
            apart_in_time = (
                found.lives[a][1] < found.lives[b][0] or found.lives[b][1] < found.lives[a][0]
            )
            apart_in_space = spans[a][1] <= spans[b][0] or spans[b][1] <= spans[a][0]
            assert apart_in_time or apart_in_space, (a, b)


def pooled(*nodes, height=64, in_bands=False):
    """Convolution -> pooling that it does, by name."""
    found = plan(model_of(*nodes), height, 64, in_bands=in_bands)
    return {name: pool.name for name, pool in found.pools.items()}


def test_a_convolution_does_the_pooling_whose_windows_lie_side_by_side():
    conv = conv_node("a", INPUT, 3, 16, 3)
    assert pooled(conv, pool_node("b", "a", 2, 2, 0)) == {"a": "b"}
    assert pooled(conv, pool_node("b", "a", 3, 3, 0), pool_node("c", "b", 2, 2, 0)) == {"a": "b"}
    assert pooled(conv, pool_node("b", "a", 3, 2, 0)) == {}
    assert pooled(conv, pool_node("b", "a", 3, 3, 1)) == {}


def test_its_output_lives_as_long_as_the_convolution_runs():
    model = build("yolov7", 1 / 4)
    for in_bands in (True, False):
        found = plan(model, 320, 320, in_bands=in_bands)
        assert len(found.pools) == 5
        positions = {(model.nodes[i].name, band): n for n, (i, band) in enumerate(found.order)}
        for (name, band), position in positions.items():
            if name in found.pools:
                born, _ = found.lives[found.key(found.pools[name].name, band)]
                assert born <= position


@pytest.mark.parametrize("exit_rows", [20, 7])
def test_a_pooling_whose_bands_are_not_its_inputs_is_a_step_of_its_own(monkeypatch, exit_rows):
    """A second reader, 5 rows high, needs more rows of the convolution than the pooling does."""
    monkeypatch.setattr(bands, "EXIT_ROWS", exit_rows)
    nodes = (
        conv_node("a", INPUT, 3, 16, 1, 4),
        pool_node("b", "a", 2, 2, 0),
        conv_node("c", "a", 16, 16, 5, 2),
        Node("d", "concat", ("b", "c")),
    )
    assert pooled(*nodes, height=320) == {"a": "b"}
    assert pooled(*nodes, height=320, in_bands=True) == {}


def test_bands_halve_the_memory_of_yolov7():
    model = build("yolov7", 1 / 4)
    whole, banded = (plan(model, 640, 640, in_bands=choice).size for choice in (False, True))
    assert banded < 0.55 * whole


@pytest.mark.parametrize(
    "nodes, rule",
    (
        ((conv_node("a", "images", 3, 16), conv_node("a", "a", 16, 6)), "a: is the name of two"),
        ((conv_node("a", "images", 4, 6),), "a: has weights for 4 channels and is given 3"),
        (
            (
                conv_node("a", "images", 3, 6),
                conv_node("b", "images", 3, 6, stride=2),
                Node("c", "concat", ("a", "b")),
            ),
            "c: joins maps of shapes (6, 64, 64), (6, 32, 32)",
        ),
        (
            (
                conv_node("a", "images", 3, 6),
                conv_node("b", "images", 3, 7),
                Node("c", "add", ("a", "b")),
            ),
            "c: joins maps of shapes (6, 64, 64), (7, 64, 64)",
        ),
        ((conv_node("a", "images", 3, 4),), "decode: has 1 anchors and maps of [4] channels"),
    ),
)
def test_a_graph_made_by_hand_that_does_not_fit_is_refused(nodes, rule):
    """Addresses follow the shapes, so these would be outside the arena."""
    with pytest.raises(BadInput) as problem:
        run(model_of(*nodes), np.zeros((1, 3, 64, 64), np.float32))
    assert rule in str(problem.value)


def test_a_graph_made_by_hand_that_fits_runs():
    """The twin: a concat of maps that fit passes."""
    a, b = conv_node("a", "images", 3, 3), conv_node("b", "images", 3, 3)
    model = model_of(a, b, Node("c", "concat", ("a", "b")))
    assert run(model, np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 64 * 64, 6)
