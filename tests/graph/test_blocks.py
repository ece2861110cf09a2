"""Every block of the table: its parts, its channels, its names and its wiring fit each other."""

from math import prod

import pytest
from shapes_only import shape_only

from refquant.formats.tensor_names import SIGNS
from refquant.graph.blocks import BLOCKS, Composed, down_c
from refquant.graph.lower import lower
from refquant.graph.module import Layer
from refquant.graph.shapes import shapes_of
from refquant.graph.supply import Supply

C, F = 8, 16
ARGUMENTS = {"Conv": (3, 2), "SP": (5,)}  # beyond c and f
SIDES = {"Conv": 16, "DownC": 16, "MP": 16}  # of a map of 32 pixels behind it; 32 otherwise
MADE = [kind for kind, block in BLOCKS.items() if block.make is not None]


def made(kind, names=None, fused=False):
    """A block for C input channels and F filters; the names of its arrays are noted in `names`."""

    def array(name, shape):
        (names if names is not None else []).append(name)
        return shape_only(name, shape)

    make, further = BLOCKS[kind].make, ARGUMENTS.get(kind, ())
    if not BLOCKS[kind].sign:
        return make(*further)
    return make(Supply(array, lambda n: n, "SiLU", fused=fused), "x", C, F, *further)


def test_down_c_of_a_worked_example():
    seen = {}

    def array(name, shape):
        seen[name] = shape
        return shape_only(name, shape)

    down_c(Supply(array, lambda n: n, "SiLU"), "x", 8, 12)
    weights = {name: shape for name, shape in seen.items() if name.endswith(".conv.weight")}
    assert weights == {
        "x.cv1.conv.weight": (8, 8, 1, 1),
        "x.cv2.conv.weight": (6, 8, 3, 3),
        "x.cv3.conv.weight": (6, 8, 1, 1),
    }


@pytest.mark.parametrize("fused", (False, True))
@pytest.mark.parametrize("kind", MADE)
def test_channels_are_those_that_the_wiring_gives(kind, fused):
    nodes = lower([Layer((-1,), made(kind, fused=fused))])
    side, channels = SIDES.get(kind, 32), F if BLOCKS[kind].sign else C
    assert shapes_of(nodes, (C, 32, 32))[nodes[-1].name] == (channels, side, side)
    assert any(node.op == "batch_norm" for node in nodes) == (
        bool(BLOCKS[kind].sign) and not fused
    )


@pytest.mark.parametrize("fused", (False, True))
@pytest.mark.parametrize("kind", MADE)
def test_a_block_is_made_with_the_parts_that_it_must_have(kind, fused):
    block, children = BLOCKS[kind], made(kind, fused=fused).children
    assert block.missing(children) == []
    assert prod(len(block.missing({k: 0 for k in children if k != part})) for part in block.parts)


@pytest.mark.parametrize("fused", (False, True))
@pytest.mark.parametrize("kind", [kind for kind in MADE if BLOCKS[kind].sign])
def test_a_sign_tells_a_block_from_the_others(kind, fused):
    names = []
    made(kind, names, fused)
    told = [sign for sign in SIGNS for name in names if name.startswith(f"x.{sign}")]
    assert SIGNS[max(told, key=len)] == kind


def test_a_fused_part_stands_for_those_in_its_place():
    block = Composed(("act",), lambda inside, x: x, fused="one", unfused=("two", "three"))
    assert block.missing({"act": 0, "two": 0}) == ["three"]
    assert block.missing({"two": 0, "three": 0}) == ["act"]
    assert block.missing({"one": 0}) == ["act"]
    assert block.missing({"act": 0, "one": 0}) == []
