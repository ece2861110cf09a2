"""The heat map: granularity x scheme, the loss in words and in colour, one map for each width."""

from collections.abc import Mapping, Sequence

from refquant.drawing.svg import Box, Drawing, Shape, Text
from refquant.study.configurations import MEMBERS, PAPER_GRANULARITIES, PAPER_SCHEMES
from refquant.study.wording import Row, number, with_interval

WIDTH = 760
LEFT, TOP, WIDE, TALL = 190.0, 40.0, 180.0, 44.0  # of the cells, in pixels


def heat_maps(rows: Sequence[Row]) -> list[Drawing]:
    """Granularity x scheme, for every width with at least two of both."""
    drawings = []
    for bits in sorted({row["bits"] for row in rows}, reverse=True):
        cells = {
            (without_budget(row["granularity"]), row["scheme"]): row
            for row in rows
            if row["bits"] == bits and row["scheme"] in PAPER_SCHEMES
        }
        found = {name for name, _ in cells}
        names = [g for g in PAPER_GRANULARITIES if g in found]
        names += sorted(found - set(names), key=lambda name: ("combination" not in name, name))
        schemes = [s for s in PAPER_SCHEMES if any(s == scheme for _, scheme in cells)]
        if len(names) > 1 and len(schemes) > 1:
            drawings.append(heat_map(cells, names, schemes, bits))
    return drawings


def without_budget(granularity: str) -> str:
    """A granularity's name without the number of its budget, which differs between schemes."""
    name = granularity.partition("=")[0]
    return name.replace(MEMBERS, "combination").replace(":", ", ")


def heat_map(
    cells: Mapping[tuple[str, str], Row],
    names: Sequence[str],
    schemes: Sequence[str],
    bits: int,
) -> Drawing:
    """The darker the cell, the larger the loss; the loss stands in it."""
    worst = max(-row["loss"]["points"] for row in cells.values())
    shapes: list[Shape] = []
    for j, scheme in enumerate(schemes):
        x = LEFT + WIDE * j
        shapes.append(Text(x + WIDE / 2, TOP - 12, scheme, 13, "middle", "ink", bold=True))
    for i, name in enumerate(names):
        y = TOP + TALL * i
        shapes.append(Text(LEFT - 12, y + TALL / 2 + 5, name, 13, "end"))
        for j, scheme in enumerate(schemes):
            row = cells.get((name, scheme))
            if row is not None:
                shapes += heat_cell(row, LEFT + WIDE * j, y, worst)
    height = int(TOP + TALL * len(names) + 34)
    note = f"loss in points of AP at {bits} nominal bits, and stored bits per weight"
    shapes.append(Text(LEFT, height - 12, note, 13, "start", "quiet"))
    return Drawing(f"heat_map_{bits}", "Loss of AP: granularity x scheme", WIDTH, height, shapes)


def heat_cell(row: Row, x: float, y: float, worst: float) -> list[Shape]:
    """One cell: its colour says the loss, and so do its words."""
    wide, tall = WIDE - 3, TALL - 3
    loss = -row["loss"]["points"]
    share = min(max(loss / worst, 0.0), 1.0) if worst > 0 else 0.0
    bits = f"{number(row['bits_per_weight']['packed'], 2)} bits"
    tip = f"{row['name']}: {with_interval(row['loss'])}"
    return [
        Box(x, y, wide, tall, "sky", 0.08 + 0.6 * share, tip),
        Text(x + 14, y + tall / 2 + 5, number(loss), 15, "start", "ink", bold=True),
        Text(x + wide - 14, y + tall / 2 + 5, bits, 12, "end", "ink"),
    ]
