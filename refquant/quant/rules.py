"""Rules: which layers get what, as text and as records.

    model.0.conv      skip                        # stays float32
    model.105.*       affine  filter  8           # pattern scheme granularity bits
    model.1?.conv     affine  filter+c-shape  4   # a combination, see combination.py
    *                 pwlq    filter  4  float16  # parameters stored as float16

A recipe is an ordered list of rules, one per line, or separated by ";"; "#" starts a comment. The
first rule whose pattern matches a convolution's name wins; a convolution that no rule matches
stays as it is. Patterns are those of the shell (`*`, `?`, `[...]`), and capitals matter.
"""

import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from refquant.arrays.errors import BadInput
from refquant.quant.combination import find_combination
from refquant.quant.scheme import FLOATS, check_bits
from refquant.quant.schemes import find_scheme

WHERE = "recipe"
FORM = "write 'pattern skip' or 'pattern scheme granularity bits [float32 | float16]'"
MOST_DIGITS = 9  # of bits; int() refuses a number of thousands of digits in its own words


class Rule(NamedTuple):
    """What the convolutions get whose names match a pattern.

    `str` gives the rule as text, and `parse` of that text gives the rule back.

    Parameters
    ----------
    pattern : str
        A pattern of the shell for names of convolutions, such as ``"model.105.*"`` or ``"*"``.
    scheme : str
        The full name of a scheme, such as ``"affine"`` or ``"pwlq:search+bc"``.
    granularity : str
        A granularity, such as ``"filter"`` or ``"axes:F,R"``, or a combination of several,
        such as ``"filter+c-shape"``.
    bits : int
        The width of a code, 2 to 8.
    params_dtype : str
        The type of stored parameters, ``"float32"`` (the default) or ``"float16"``.
    skip : bool
        Whether the layers stay float32; nothing but the pattern counts then.

    Examples
    --------
    >>> str(Rule("model.0.conv", skip=True))
    'model.0.conv skip'
    >>> str(Rule("*", "pwlq", "filter", 4))
    '* pwlq filter 4 float32'
    >>> parse("* pwlq filter 4 float32") == (Rule("*", "pwlq", "filter", 4),)
    True
    """

    pattern: str
    scheme: str = ""
    granularity: str = ""
    bits: int = 0
    params_dtype: str = "float32"
    skip: bool = False

    def __str__(self) -> str:
        if self.skip:
            return f"{self.pattern} skip"
        words = (self.pattern, self.scheme, self.granularity, self.bits, self.params_dtype)
        return " ".join(map(str, words))


Recipe = Sequence[Rule]
GivenRules = Iterable[Rule | tuple[Any, ...]]  # a plain tuple is the words of a rule


def checked(rule: Rule) -> Rule:
    """The rule, if its scheme, granularity, bits and dtype exist."""
    find_scheme(rule.scheme)
    find_combination(rule.granularity)
    check_bits(rule.bits)
    if rule.params_dtype not in FLOATS:
        raise BadInput(WHERE, f"{rule.params_dtype!r} is no type", f"choose {' | '.join(FLOATS)}")
    return rule


def parse(text: str) -> tuple[Rule, ...]:
    """The rules of a recipe's text; a line that is not a rule is refused with its words."""
    lines = [line.split("#")[0] for line in text.splitlines()]
    return some([parse_rule(part) for line in lines for part in line.split(";") if part.strip()])


def parse_rule(text: str) -> Rule:
    """One rule from its words."""
    words = text.split()
    if len(words) == 2 and words[1] == "skip":
        return Rule(words[0], skip=True)
    if len(words) not in (4, 5) or not words[3].isdecimal() or len(words[3]) > MOST_DIGITS:
        raise BadInput(WHERE, f"{text.strip()!r} is not a rule", FORM)
    pattern, scheme, granularity, bits = words[:4]
    dtype = words[4] if len(words) == 5 else "float32"
    return checked(Rule(pattern, scheme, granularity, int(bits), dtype))


def read(path: str | os.PathLike[str]) -> tuple[Rule, ...]:
    """The recipe in a text file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, f"is not a readable text file ({error})") from error
    try:
        return parse(text)
    except BadInput as error:
        raise BadInput(path, str(error)) from None


def some(recipe: GivenRules) -> tuple[Rule, ...]:
    """The rules of a recipe, which has some."""
    rules = tuple(map(rule_of, recipe))
    if not rules:
        raise BadInput(WHERE, "has no rules", FORM)
    return rules


def rule_of(item: Any) -> Rule:
    """A rule as it is, or made of its words, such as ("*", "affine", "filter", 4)."""
    if isinstance(item, Rule):
        return item
    if not isinstance(item, tuple):
        raise BadInput(WHERE, f"{item!r:.60} is not a rule", FORM)
    return parse_rule(" ".join(map(str, item)))


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
