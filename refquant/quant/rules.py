"""Rules: what the layers of a name's pattern get, and which rule a layer follows.

A recipe is an ordered list of rules; the first whose pattern matches a layer wins. Patterns are
those of the shell (`*`, `?`, `[...]`), capitals matter.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from refquant.arrays.errors import BadInput
from refquant.quant.combination import find_combination
from refquant.quant.scheme import FLOATS, check_bits
from refquant.quant.schemes import find_scheme

WHERE = "recipe"


class Rule(NamedTuple):
    """What layers whose name matches the pattern get; skip: nothing."""

    pattern: str
    scheme: str = ""
    granularity: str = ""
    bits: int = 0
    params_dtype: str = "float32"
    skip: bool = False

    def __str__(self) -> str:
        """The rule as `recipe.parse` reads it."""
        if self.skip:
            return f"{self.pattern} skip"
        words = (self.pattern, self.scheme, self.granularity, self.bits, self.params_dtype)
        return " ".join(map(str, words))


Recipe = Sequence[Rule]


def checked(rule: Rule) -> Rule:
    """The rule, if its scheme, granularity, bits and dtype exist."""
    find_scheme(rule.scheme)
    find_combination(rule.granularity)
    check_bits(rule.bits)
    if rule.params_dtype not in FLOATS:
        raise BadInput(WHERE, f"{rule.params_dtype!r} is no type", f"choose {' | '.join(FLOATS)}")
    return rule


def rule_for(name: str, recipe: Recipe) -> Rule | None:
    """The first rule whose pattern matches the layer's name."""
    return next((rule for rule in recipe if fnmatchcase(name, rule.pattern)), None)


def check_patterns(recipe: Recipe, names: Iterable[str]) -> None:
    """Refuse a pattern that matches no layer: it is a typing error, and would pass unseen."""
    names = list(names)
    if not names:
        raise BadInput("model", "has no convolution to quantize", "give a network that has some")
    for rule in recipe:
        if not any(fnmatchcase(name, rule.pattern) for name in names):
            raise BadInput(
                WHERE, f"{rule.pattern!r} matches no convolution", f"names are like {names[0]}"
            )
