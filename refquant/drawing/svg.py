"""Drawings as lists of shapes, written as SVG, which browsers and Markdown pages show as it is.

Coordinates are in pixels, x to the right, y down. A colour is a name: "ink", "quiet", "grid" and
"paper" follow the reader's light or dark theme, those of PALETTE are the colours of Okabe and Ito
(2008), which readers of all kinds of colour vision tell apart. No colour speaks alone: each series
has a marker, a dash or a form of its own as well.

Shapes carry the colours of the light theme, so programs that know neither style sheets nor themes
show them too; a style sheet replaces them where the reader prefers the dark theme.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from refquant.arrays.atomic import atomic_path

LIGHT = {"ink": "#1b1f24", "quiet": "#59636e", "grid": "#d8dee4", "paper": "#ffffff"}
DARK = {"ink": "#e6edf3", "quiet": "#9aa4af", "grid": "#363d46", "paper": "#14181d"}
PALETTE = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "vermillion": "#D55E00",
    "sky": "#56B4E9",
}
MARKERS = ("circle", "square", "triangle", "diamond", "cross", "plus")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


class Line(NamedTuple):
    """A polyline; `dash` in pixels, "" for a solid one."""

    points: Sequence[tuple[float, float]]
    colour: str = "ink"
    width: float = 1.0
    dash: str = ""


class Box(NamedTuple):
    """A filled rectangle; opacity from 0 to 1; `tip` is shown under the pointer."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    opacity: float = 1.0
    tip: str = ""


class Mark(NamedTuple):
    """A marker of MARKERS at (x, y); hollow ones show the paper inside."""

    x: float
    y: float
    kind: str
    colour: str
    size: float = 4.5
    hollow: bool = False
    tip: str = ""


class Text(NamedTuple):
    """Text at its baseline; anchor start, middle or end; turned by 90 degrees if upright.

    A halo in the colour of the paper keeps it legible on lines and markers.
    """

    x: float
    y: float
    text: str
    size: float = 12
    anchor: str = "start"
    colour: str = "ink"
    bold: bool = False
    upright: bool = False
    halo: bool = False


Shape = Line | Box | Mark | Text


class Drawing(NamedTuple):
    """A picture with a name for its file and a title for who cannot see it."""

    name: str
    title: str
    width: int
    height: int
    shapes: Sequence[Shape]


def svg(drawing: Drawing, *, alone: bool = False) -> str:
    """The drawing as an <svg> element; `alone` adds the themes that a page would bring along."""
    size = f"0 0 {drawing.width} {drawing.height}"
    style = f"<style>{theme_css()}</style>" if alone else ""
    back = Box(0, 0, drawing.width, drawing.height, "paper")
    body = "\n".join(element(shape) for shape in ([back] if alone else []) + list(drawing.shapes))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img" '
        f'width="{drawing.width}" font-family="{escape(FONT)}">'
        f"<title>{escape(drawing.title)}</title>{style}\n{body}\n</svg>\n"
    )


def theme_css() -> str:
    """The colours that follow the theme, as CSS variables, and what wears them in the dark one."""
    light, dark = (
        "".join(f"--{name}:{value};" for name, value in theme.items()) for theme in (LIGHT, DARK)
    )
    worn = "".join(
        f'[{part}="{value}"]{{{part}:var(--{name})}}'
        for name, value in LIGHT.items()
        for part in ("fill", "stroke")
    )
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}{worn}}}"


def paint(colour: str) -> str:
    """A colour as SVG has it."""
    return PALETTE.get(colour) or LIGHT[colour]


def element(shape: Shape) -> str:
    """One shape as SVG."""
    if isinstance(shape, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        dash = f' stroke-dasharray="{shape.dash}"' if shape.dash else ""
        return (
            f'<polyline points="{points}" fill="none" stroke="{paint(shape.colour)}" '
            f'stroke-width="{shape.width}"{dash}/>'
        )
    if isinstance(shape, Box):
        return (
            f'<rect x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" '
            f'height="{shape.height:.1f}" fill="{paint(shape.colour)}" '
            f'fill-opacity="{shape.opacity:.3f}">{tip(shape.tip)}</rect>'
        )
    if isinstance(shape, Mark):
        fill = paint("paper" if shape.hollow else shape.colour)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline(shape))
        return (
            f'<polygon points="{points}" fill="{fill}" stroke="{paint(shape.colour)}" '
            f'stroke-width="1.6" stroke-linejoin="round">{tip(shape.tip)}</polygon>'
        )
    turn = f' transform="rotate(-90 {shape.x:.1f} {shape.y:.1f})"' if shape.upright else ""
    weight = ' font-weight="600"' if shape.bold else ""
    edge = f' paint-order="stroke" stroke="{paint("paper")}" stroke-width="3"'
    halo = edge if shape.halo else ""
    return (
        f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size}" '
        f'text-anchor="{shape.anchor}" fill="{paint(shape.colour)}"{weight}{halo}{turn}>'
        f"{escape(shape.text)}</text>"
    )


def tip(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def outline(mark: Mark) -> list[tuple[float, float]]:
    """The corners of a marker; markers have about the same area."""
    r = mark.size
    if mark.kind == "cross" or mark.kind == "plus":
        turn = math.pi / 4 if mark.kind == "cross" else 0.0
        a, b = 1.25 * r, 0.4 * r
        corners = [(a, b), (b, b), (b, a), (-b, a), (-b, b), (-a, b)]
        corners += [(-x, -y) for x, y in corners]
    else:
        count, turn, grow = {
            "circle": (20, 0.0, 1.0),
            "square": (4, math.pi / 4, 1.25),
            "triangle": (3, -math.pi / 2, 1.4),
            "diamond": (4, 0.0, 1.3),
        }[mark.kind]
        angles = [2 * math.pi * i / count for i in range(count)]
        corners = [(grow * r * math.cos(t), grow * r * math.sin(t)) for t in angles]
    c, s = math.cos(turn), math.sin(turn)
    return [(mark.x + c * x - s * y, mark.y + s * x + c * y) for x, y in corners]


def write_svg(drawings: Iterable[Drawing], folder: Path) -> None:
    """A file for each drawing."""
    for drawing in drawings:
        with atomic_path(folder / f"{drawing.name}.svg") as temporary:
            temporary.write_text(svg(drawing, alone=True), encoding="utf-8")
