"""Detections drawn into the image: boxes, and labels that can be read on any background.

    u = max(1, rint(sqrt(H * W) / 400))           in pixels, the unit of line width     (1)
    text size = max(11, rint(sqrt(H * W) / 40))   in pixels; it is less where the longest
                                                  label would be wider than the image   (2)
    colour of class k = PALETTE[k mod 8]                                                (3)
    text is black or white, whichever contrasts more with the colour of the label       (4)
    contrast of luminances L1 >= L2:  (L1 + 0.05) / (L2 + 0.05)                         (5)

Every box is a coloured line between two thin dark ones, so that it shows on any colour. The best
detections are drawn last, on top. A label stands above its box, or else at the first of four
places that is inside the image and free of other labels. The border cuts no label, except in
images that are too small for text of 6 pixels.

Sources  The palette is that of Okabe and Ito 2008, "Color Universal Design", with a grey in place
         of its black; its colours are told apart under the common kinds of colour blindness.
         (5) is the contrast ratio of WCAG 2.1.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from refquant.detection.predict import Detections

Colour = tuple[int, int, int]
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermillion
    (204, 121, 167),  # reddish purple
    (200, 200, 200),  # grey
)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Area(NamedTuple):
    """A rectangle of pixels; its right and bottom edges are the first pixels outside."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Area") -> bool:
        """Whether the two have a pixel in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def draw(image: NDArray[np.uint8], found: Detections, class_names: Sequence[str]) -> Image.Image:
    """A copy of `image` (H, W, 3) uint8 RGB with the detections drawn in, as a Pillow image."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    unit = max(1, round(math.sqrt(picture.width * picture.height) / 400))  # (1)
    labels = [
        label(class_names, int(k), float(s))
        for k, s in zip(found.classes, found.scores, strict=True)
    ]
    for i in reversed(range(len(found))):
        outline(pen, found.boxes[i], colour_of(int(found.classes[i])), unit)
    font = choose_font(labels, picture.width, picture.height, unit)
    taken: list[Area] = []
    for i, text in enumerate(labels):  # the best come first and get the best places
        size = text_size(font, text, unit)
        area = place(size, Area(*found.boxes[i].tolist()), picture.size, taken)
        taken.append(area)
        write(pen, text, area, colour_of(int(found.classes[i])), font, unit)
    return picture


def label(class_names: Sequence[str], index: int, score: float) -> str:
    """A short line such as "person 0.87"; a class without a name is called by its number."""
    name = class_names[index] if index < len(class_names) else f"class {index}"
    return f"{' '.join(name.split())[:40]} {score:.2f}"


def colour_of(index: int) -> Colour:
    """(3): the colour of a class."""
    return PALETTE[index % len(PALETTE)]


def luminance(colour: Colour) -> float:
    """The relative luminance of an sRGB colour, from 0 to 1 (WCAG 2.1)."""
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in (v / 255 for v in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Colour, other: Colour) -> float:
    """(5): the contrast of two colours, from 1 (the same) to 21 (black and white)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def text_colour(background: Colour) -> Colour:
    """(4): black or white, for text on that background."""
    return max((BLACK, WHITE), key=lambda colour: contrast(colour, background))


def choose_font(labels: Sequence[str], width: int, height: int, unit: int) -> Font:
    """Pillow's own font in the size of (2); the fonts of the machine are not looked for."""
    wanted = max(11, round(math.sqrt(width * height) / 40))
    font = ImageFont.load_default(size=wanted)
    widest = max((text_size(font, text, unit)[0] for text in labels), default=0)
    if widest > width:
        font = ImageFont.load_default(size=max(6, int(wanted * width / widest)))
    return font


def text_size(font: Font, text: str, unit: int) -> tuple[int, int]:
    """Width and height of a label in pixels; 2 units lie left and right of its text, 1 above."""
    left, _, right, _ = font.getbbox(text)
    _, top, _, bottom = font.getbbox("Ágjy")  # the same height for every text
    return math.ceil(right - left) + 4 * unit, math.ceil(bottom - top) + 2 * unit


def place(
    size: tuple[int, int], box: Area, picture: tuple[int, int], taken: Sequence[Area]
) -> Area:
    """Where a label of that size goes: above its box, in it at the top, below it, in it below."""
    width, height = size
    left = min(max(0.0, box.left), max(0.0, picture[0] - width))
    lowest = max(0.0, picture[1] - height)
    tops = (box.top - height, box.top, box.bottom, box.bottom - height)
    areas = [
        Area(left, min(max(0.0, top), lowest), left + width, min(max(0.0, top), lowest) + height)
        for top in tops
    ]
    free = [area for area in areas if not any(area.meets(other) for other in taken)]
    inside = [area for area in free if area.top in tops]
    return (inside or free or areas)[0]


def outline(pen: ImageDraw.ImageDraw, box: NDArray, colour: Colour, unit: int) -> None:
    """Draw a line of 2 units between two dark ones of 1 pixel, inwards from the box's border."""
    x1, y1, x2, y2 = (round(float(v)) for v in box)
    x2, y2 = max(x1, x2 - 1), max(y1, y2 - 1)  # Pillow counts right and bottom as inside
    for inset, width, shade in ((0, 2 * unit + 2, BLACK), (1, 2 * unit, colour)):
        area = (x1 + inset, y1 + inset, x2 - inset, y2 - inset)
        if area[2] >= area[0] and area[3] >= area[1]:
            pen.rectangle(area, outline=shade, width=width)


def write(
    pen: ImageDraw.ImageDraw, text: str, area: Area, colour: Colour, font: Font, unit: int
) -> None:
    """Draw a solid label with its text."""
    pen.rectangle((area.left, area.top, area.right - 1, area.bottom - 1), fill=colour)
    left, _, _, _ = font.getbbox(text)
    _, top, _, _ = font.getbbox("Ágjy")
    start = (area.left + 2 * unit - left, area.top + unit - top)
    pen.text(start, text, fill=text_colour(colour), font=font)
