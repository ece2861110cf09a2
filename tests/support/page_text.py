"""Whether a command prints what a page says, on any processor.

Who judges the output of another library (a port in NumPy, a model in onnxruntime) prints two kinds
of parts, and no test may expect the second to be the same everywhere:

    ours     words of verdicts, names, causes, shapes, hashes, sizes, codes, how many nodes have
             which verdict: compared letter by letter
    theirs   how far a tensor is from the golden, where the farthest element lies, how many are off
             and by how many steps: FIELDS, of which the form is compared (a number, an index of so
             many axes, steps of so many elements, a picture of that shape), not what it says
"""

import re
from functools import cache

from refquant.verification.deviation import BINS
from refquant.verification.worst import SHADES

WHOLE, REAL, LIST = r"\d+", r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?", r"\[\d+(?:, \d+)*\]"
STEPS = r"\S+: \d+(?:, \S+: \d+)*"
SHADE = re.escape(SHADES)
# Lines of `verify`; what the arithmetic of others decides is in groups, the rest is ours. A bound
# of 0 and "infinite" are ours too: nothing is rounded there.
FIELDS = [
    rf"\S+  (?:wrong|implausible|undecided|consistent)  (?:local|segment|evidence)"
    rf"  ({REAL})  (?:({REAL})|infinite)  (?:({REAL})|-)  (?:({REAL})(?= times the largest))?.*",
    rf"  ({WHOLE}) of \d+ elements are wrong",
    rf"  (?:channels|rows|columns): ({WHOLE}), ({LIST}) \.\.\.",
    rf"  worst element ({LIST}): found ({REAL})",
    rf"  expected ({REAL}) \+- (?:0|({REAL}))",
    rf"  = \w+\(({REAL})\), \d+ products and a bias:",
    rf"    bias ({REAL}), products ({REAL})",
    rf"    c,r,s  ({WHOLE}),({WHOLE}),({WHOLE})  ({REAL}) \* ({REAL})",
    rf"    and \d+ more, together ({REAL}); --all prints them",
    rf"(?:  |\S+: )cosine to the golden ({REAL}), elements by float32 steps ({STEPS})",
    rf"  \|([{SHADE}]+)\|",
]


def without_numbers_of_others(line: str) -> str:
    """A line of `verify` with the form of each field in the place of what it says."""
    match = next(filter(None, (re.fullmatch(pattern, line) for pattern in FIELDS)), None)
    spans = [match.span(i) for i, text in enumerate(match.groups(), 1) if text] if match else []
    for start, end in reversed(spans):
        line = line[:start] + form_of(line[start:end]) + line[end:]
    return line


def form_of(field: str) -> str:
    """What is ours of a field: the number of axes, the number of elements, the shape of a map."""
    if ": " in field:  # steps: each element has a place, so their sum is known
        counts = dict(part.split(": ") for part in field.split(", "))
        assert list(counts) == [name for name in BINS if name in counts], field
        return f"<steps of {sum(map(int, counts.values()))} elements>"
    if re.fullmatch(LIST, field):
        return f"<{field.count(',') + 1} whole numbers>"
    if re.fullmatch(REAL, field):
        return "<number>"
    return re.sub(r"[^ ]", "#", field)


def fits(expected: str, printed: str) -> bool:
    """Whether text is as expected but for FIELDS: ... stands for anything, a line of ... for any
    lines."""
    wanted, lines = (
        [without_numbers_of_others(line) for line in spaced(text).split("\n")]
        for text in (expected, printed)
    )

    @cache
    def rest_fits(i: int, j: int) -> bool:
        if i == len(wanted):
            return j == len(lines)
        if wanted[i].strip() == "...":
            return rest_fits(i + 1, j) or (j < len(lines) and rest_fits(i, j + 1))
        return j < len(lines) and line_fits(wanted[i], lines[j]) and rest_fits(i + 1, j + 1)

    return rest_fits(0, 0)


def line_fits(wanted: str, line: str) -> bool:
    """The same for a line, whose columns have any width."""
    pattern = re.escape(wanted).replace(re.escape("..."), ".*").replace(re.escape("  "), " *")
    return re.fullmatch(pattern, line) is not None


def spaced(text: str) -> str:
    """Columns two blanks apart."""
    return re.sub(r"(?<=\S) {2,}", "  ", text.rstrip("\n"))
