"""Plans: bands of rows worked by hand, and that no two maps share memory while both live."""

import pytest
from small_graphs import awkward, conv_node

from refquant.graph.architecture import build
from refquant.graph.bands import Rows, rows_of
from refquant.graph.graph import INPUT
from refquant.graph.plan import plan


def test_rows_of_bands_of_a_worked_example():
    # Two 3x3 convolutions, 8 rows, two bands: the second's rows 0-3 need the first's rows 0-4.
    first, second = (
        conv_node("first", INPUT, 3, 4, 3),
        conv_node("second", "first", 4, 4, 3),
    )
    shapes = {INPUT: (3, 8, 8), "first": (4, 8, 8), "second": (4, 8, 8)}
    rows = rows_of([first, second], shapes, {"second"}, 2)
    assert rows["second"] == [Rows(0, 0, 4), Rows(4, 4, 8)]
    assert rows["first"] == [Rows(0, 0, 5), Rows(3, 5, 8)]  # rows 3 and 4 are kept, not redone


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


def test_bands_halve_the_memory_of_yolov7():
    model = build("yolov7", 1 / 4)
    whole, banded = (plan(model, 640, 640, in_bands=choice).size for choice in (False, True))
    assert banded < 0.55 * whole
