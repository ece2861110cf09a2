"""A report as a list of blocks, and its form as Markdown; page.py makes HTML of the same blocks.

Everything in a block is plain text: whoever writes it out escapes it, so a model's or a data set's
name can never become markup. A table's cell may carry the number it is sorted by.
"""

from collections.abc import Sequence
from typing import NamedTuple

from refquant.drawing.svg import Drawing


class Heading(NamedTuple):
    text: str


class Paragraph(NamedTuple):
    text: str


class Bullets(NamedTuple):
    items: Sequence[str]


class Cards(NamedTuple):
    """Pairs of a number and what it is, to be seen first."""

    items: Sequence[tuple[str, str]]


class Cell(NamedTuple):
    """Text, in lines; a number sorts the column and stands to the right; a tone gives a colour.

    `note` is what is to be read after it, small.
    """

    text: str
    number: float | None = None
    tone: str = ""
    note: str = ""


class Table(NamedTuple):
    """Rows under a header.

    kind    stack: cards on a phone; roomy: the same, and wider; wide: scrolls sideways
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    kind: str = "stack"


class Figure(NamedTuple):
    drawing: Drawing
    caption: str


Block = Heading | Paragraph | Bullets | Cards | Table | Figure


class Document(NamedTuple):
    title: str
    subtitle: str
    blocks: Sequence[Block]


def markdown(document: Document) -> str:
    """The document as Markdown; pictures are those of the folder plots/."""
    parts = [f"# {plain(document.title)}", plain(document.subtitle)]
    parts += [block_text(block) for block in document.blocks]
    return "\n\n".join(parts) + "\n"


def block_text(block: Block) -> str:
    """One block as Markdown."""
    if isinstance(block, Heading):
        return f"## {plain(block.text)}"
    if isinstance(block, Paragraph):
        return plain(block.text)
    if isinstance(block, Bullets):
        return "\n".join(f"* {plain(item)}" for item in block.items)
    if isinstance(block, Cards):
        return "\n".join(f"* **{plain(value)}** {plain(what)}" for value, what in block.items)
    if isinstance(block, Figure):
        picture = f"![{plain(block.drawing.title)}](plots/{block.drawing.name}.svg)"
        return f"{picture}\n\n{plain(block.caption)}"
    lines = [block.header, ["---" for _ in block.header]]
    rows = [[cell_text(cell) for cell in row] for row in block.rows]
    return "\n".join(
        "| " + " | ".join(text if text == "---" else plain(text) for text in line) + " |"
        for line in [*lines, *rows]
    )


def cell_text(cell: Cell) -> str:
    """A cell on one line."""
    text = cell.text.replace("\n", "; ")
    return f"{text}. {cell.note}" if cell.note else text


def plain(text: str) -> str:
    """Text that Markdown takes as it is."""
    for mark in ("\\", "|", "*", "_", "<", "[", "`"):
        text = text.replace(mark, f"\\{mark}" if mark != "<" else "&lt;")
    return " ".join(text.split())
