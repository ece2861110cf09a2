"""What a study compares: configurations, and the presets that list them in order of information.

A configuration is one way to store the weights of all convolutions: a scheme, a granularity, bits.
Its name says all of it: "affine filter 4", "pwlq filter+f-shape+c-shape 4", "float32".

Order   A study may be stopped at any time, so what settles most comes first: the float baseline
        (every loss is measured from it), the headlines of the paper, affine with one more bit
        (which stores as many bits as PWLQ), then the paper's grid, the widths, and the schemes
        beyond the paper. Sizes and errors of all of them need no image and precede the first one.
Presets
    quick       the headlines, on at most QUICK_IMAGES images
    recorded    headlines, the paper's grid at 4 bits, combinations, two schemes at other widths
    paper       the same, and every scheme of the catalogue and options of the paper's schemes

Budgets     The paper's combinations are 3.92 (uniform) and 3.86 (PWLQ) times smaller than FP16,
            filter level alone (f_paper) a little more. Another model has another saving f at
            filter level; its combinations get the budget that asks for the same sacrifice:
                budget = f * published / f_paper                                     (1)
            which for YOLOv7 is the published saving itself.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from refquant.arrays.errors import BadInput
from refquant.quant.scheme_name import SchemeName
from refquant.quant.schemes import SCHEMES
from refquant.study import yolov7_memory

PAPER_SCHEMES = ("affine", "symmetric", "pwlq")
PAPER_GRANULARITIES = ("layer", "filter", "channel", "f-shape", "c-shape")
PAPER_BITS = 4
WIDTHS = (8, 6, 5, 3)
MEMBERS = "filter+f-shape+c-shape"
PUBLISHED_SAVINGS = {"affine": 3.92, "symmetric": 3.92, "pwlq": 3.86}  # of combinations, 4 bits
QUICK_IMAGES = 120

# (scheme, bits) -> how many times smaller than FP16 the model is at filter level, nominally.
FilterSaving = Callable[[str, int], float]


class Configuration(NamedTuple):
    """A scheme, a granularity (a combination "member+member:reading" too) and nominal bits."""

    scheme: str
    granularity: str
    bits: int

    @property
    def name(self) -> str:
        return f"{self.scheme} {self.granularity} {self.bits}" if self.scheme else "float32"

    @property
    def combined(self) -> bool:
        """Whether each layer gets one of several granularities."""
        return "+" in self.granularity

    @property
    def slug(self) -> str:
        """The name as a part of a file's name."""
        return self.name.replace(" ", "_").replace(":", "-")


FLOAT = Configuration("", "", 32)


def grid(
    schemes: Iterable[str], granularities: Iterable[str], bits: Iterable[int]
) -> list[Configuration]:
    """Every combination, in the order of `bits`, then of granularities, then of schemes."""
    return [
        Configuration(scheme, granularity, width)
        for width, granularity, scheme in itertools.product(bits, granularities, schemes)
    ]


def combinations(
    schemes: Iterable[str], bits: Iterable[int], saving: FilterSaving
) -> list[Configuration]:
    """The combination of filter, F-shape and C-shape under every reading (combination.py)."""
    found = []
    for width, scheme in itertools.product(bits, schemes):
        budget = budget_of(scheme, width, saving)
        readings = ("", f":budget={budget:.3f}", f":greedy={budget:.3f}")
        found += [Configuration(scheme, MEMBERS + reading, width) for reading in readings]
    return found


def budget_of(scheme: str, bits: int, saving: FilterSaving) -> float:
    """Equation (1)."""
    of_paper = yolov7_memory.saving(scheme, "filter", PAPER_BITS)
    return saving(scheme, bits) * PUBLISHED_SAVINGS[scheme] / of_paper


def headlines(bits: int, saving: FilterSaving) -> list[Configuration]:
    """What the paper's abstract compares, and what shares its stored bits with PWLQ."""
    combined = combinations(("affine", "pwlq"), [bits], saving)
    least = [c for c in combined if c.granularity == MEMBERS]
    return [
        *grid(("affine", "pwlq", "symmetric"), ["filter"], [bits]),
        *least,
        *grid(["affine"], ["filter"], [min(bits + 1, 8)]),
        *(c for c in combined if ":budget" in c.granularity),
        *grid(["affine"], ["layer"], [bits]),
    ]


def recorded(bits: Sequence[int], saving: FilterSaving) -> list[Configuration]:
    """The paper's grid at its width, and two of its schemes at others."""
    return [
        *(c for width in bits for c in headlines(width, saving)),
        *grid(PAPER_SCHEMES, PAPER_GRANULARITIES, bits),
        *combinations(PAPER_SCHEMES, bits, saving),
        *grid(("affine", "pwlq"), ["filter"], WIDTHS),
    ]


def beyond(bits: Sequence[int]) -> list[Configuration]:
    """Every other scheme of the catalogue, options of the paper's schemes, blocks."""
    options = [
        str(SchemeName(name, option)) for name in PAPER_SCHEMES for option in SCHEMES[name].options
    ]
    others = [name for name in SCHEMES if name not in PAPER_SCHEMES]
    corrected = [str(SchemeName(name, corrected=True)) for name in PAPER_SCHEMES]
    return [
        *grid([*others, *options, *corrected], ["filter"], bits),
        *grid(("affine", "pwlq"), ["block-64"], bits),
    ]


def preset(name: str, saving: FilterSaving, bits: Sequence[int] = ()) -> list[Configuration]:
    """The configurations of a preset, without the float baseline, each once.

    saving    the model's savings at filter level; bits    widths instead of the paper's 4
    """
    widths = tuple(bits) or (PAPER_BITS,)
    if name == "quick":
        chosen = [c for width in widths for c in headlines(width, saving)]
    elif name == "recorded":
        chosen = recorded(widths, saving)
    elif name == "paper":
        chosen = recorded(widths, saving) + beyond(widths)
    else:
        raise BadInput(f"preset={name!r}", "choose quick | recorded | paper")
    return list(dict.fromkeys(chosen))
