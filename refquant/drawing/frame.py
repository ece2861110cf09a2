"""A plot's frame: numbers to pixels, ticks at round numbers, grid lines, labels, a legend.

x pixel = left + (x - x_low) / (x_high - x_low) * width         y likewise, upwards
ticks at multiples of 1, 2 or 5 times a power of ten, 4 to about 10 of them
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from refquant.drawing.svg import Line, Mark, Shape, Text


class Frame(NamedTuple):
    """The plotting area in pixels, and the numbers at its borders."""

    x: tuple[float, float]
    y: tuple[float, float]
    left: float = 62
    top: float = 16
    width: float = 670
    height: float = 330

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def right(self) -> float:
        return self.left + self.width

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a point; points beyond the borders are put on them."""
        across = (min(max(x, self.x[0]), self.x[1]) - self.x[0]) / (self.x[1] - self.x[0])
        up = (min(max(y, self.y[0]), self.y[1]) - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * self.width, self.bottom - up * self.height

    def grid(self, x_label: str, y_label: str) -> list[Shape]:
        """Grid lines both ways, numbers at them, and what the axes say."""
        return self.grid_x(x_label) + self.grid_y(y_label)

    def grid_x(self, label: str) -> list[Shape]:
        """Upright lines with their numbers under them."""
        shapes: list[Shape] = []
        for value in (xs := ticks(*self.x)):
            x, _ = self.at(value, self.y[0])
            shapes.append(Line([(x, self.top), (x, self.bottom)], "grid"))
            shapes.append(tick(x, self.bottom + 17, value, xs, "middle"))
        middle = self.left + self.width / 2
        return [*shapes, Text(middle, self.bottom + 38, label, 13, "middle", "quiet")]

    def grid_y(self, label: str) -> list[Shape]:
        """Level lines with their numbers to the left."""
        shapes: list[Shape] = []
        for value in (ys := ticks(*self.y)):
            _, y = self.at(self.x[0], value)
            shapes.append(Line([(self.left, y), (self.right, y)], "grid"))
            shapes.append(tick(self.left - 8, y + 4, value, ys, "end"))
        centre = self.top + self.height / 2
        return [*shapes, Text(16, centre, label, 13, "middle", "quiet", upright=True)]


def tick(x: float, y: float, value: float, among: Sequence[float], anchor: str) -> Text:
    """A tick's number with as many decimals as the ticks' distance needs, and a true minus."""
    step = among[1] - among[0] if len(among) > 1 else 1.0
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    text = f"{value:,.{places}f}".replace("-", "\N{MINUS SIGN}")
    return Text(x, y, text, 12, anchor, "quiet")


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high."""
    size = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(s * size for s in (5, 2, 1, 0.5) if (high - low) / (s * size) >= 4)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * k for k in range(first, last + 1)]


def span(values: Iterable[float], margin: float = 0.06) -> tuple[float, float]:
    """From the least to the largest value and a little beyond; never empty."""
    values = list(values)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = margin * (high - low) or 0.5 * (abs(low) or 1.0)
    return low - room, high + room


def legend(
    entries: Iterable[tuple[str, str, str, bool]], x: float, y: float, right: float
) -> tuple[list[Shape], float]:
    """Markers with names, (name, marker, colour, hollow), in rows; and the last row's y."""
    shapes: list[Shape] = []
    start = x
    for name, kind, colour, hollow in entries:
        wide = 24 + 7.0 * len(name)
        if x + wide > right and x > start:
            x, y = start, y + 20
        shapes.append(Mark(x + 6, y - 4, kind, colour, 4.5, hollow))
        shapes.append(Text(x + 16, y, name, 12))
        x += wide
    return shapes, y
