"""SVG: markers, words that are never markup, sizes, the colours of both themes."""

from html import escape
from xml.etree import ElementTree

import pytest

from refquant.drawing.svg import (
    DARK,
    LIGHT,
    MARKERS,
    PALETTE,
    Box,
    Drawing,
    Line,
    Mark,
    Text,
    outline,
    svg,
    write_svg,
)

NASTY = '<script>alert(1)</script> & "|*_[x](y)`'
SVG = "{http://www.w3.org/2000/svg}"
SHAPES = [
    Line([(0, 0), (1, 2)], "grid", 2.0, "3 2"),
    Box(0, 0, 3, 4, "sky", 0.5, NASTY),
    Mark(1, 1, "diamond", "green", tip=NASTY),
    Text(1, 2, NASTY, upright=True, halo=True),
]


@pytest.mark.parametrize("kind", MARKERS)
def test_markers_are_centred_and_of_about_the_same_area(kind):
    points = outline(Mark(0, 0, kind, "blue", 10))
    cross = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, points[1:] + points[:1]))
    assert 200 < abs(cross) / 2 < 400
    assert abs(sum(x for x, _ in points)) < 1e-9


@pytest.mark.parametrize("alone", [False, True])
def test_a_drawing_is_well_formed_xml_whatever_its_words_are(alone):
    text = svg(Drawing("a", NASTY, 10, 20, SHAPES), alone=alone)
    assert ElementTree.fromstring(text).find(f"{SVG}text").text == NASTY
    with pytest.raises(ElementTree.ParseError):  # the same words, not escaped
        ElementTree.fromstring(text.replace(escape(NASTY), NASTY))


def test_every_shape_is_one_element_where_its_numbers_say():
    root = ElementTree.fromstring(svg(Drawing("a", "", 100, 60, SHAPES)))
    assert root.get("viewBox") == "0 0 100 60"
    names = [element.tag.removeprefix(SVG) for element in root]
    assert names == ["title", "polyline", "rect", "polygon", "text"]
    line, box, _, text = root[1:]
    assert (line.get("points"), line.get("stroke-dasharray")) == ("0.0,0.0 1.0,2.0", "3 2")
    assert [box.get(k) for k in ("x", "y", "width", "height")] == ["0.0", "0.0", "3.0", "4.0"]
    assert (box.get("fill"), box.get("fill-opacity")) == (PALETTE["sky"], "0.500")
    assert text.get("transform") == "rotate(-90 1.0 2.0)"


def test_a_picture_of_its_own_has_paper_and_the_colours_of_both_themes(tmp_path):
    write_svg([Drawing("a", "", 100, 60, SHAPES)], tmp_path)
    text = (tmp_path / "a.svg").read_text()
    paper = ElementTree.fromstring(text).find(f"{SVG}rect")
    assert (paper.get("width"), paper.get("height")) == ("100.0", "60.0")
    assert paper.get("fill") == LIGHT["paper"]
    for name in LIGHT:
        assert f'[fill="{LIGHT[name]}"]{{fill:var(--{name})}}' in text
        assert f"--{name}:{DARK[name]}" in text
    # Programs that know no style sheets take the attributes: no variable stands in one.
    assert "var(" not in text.partition("</style>")[2]


def test_no_two_colours_are_one_so_that_a_theme_replaces_the_right_one():
    colours = [*LIGHT.values(), *PALETTE.values()]
    assert len({colour.lower() for colour in colours}) == len(colours)
