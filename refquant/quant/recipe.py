"""Recipes: which layer gets what. Ordered rules, the first whose pattern matches a layer wins.

    model.0.conv      skip                        # stays float32
    model.105.*       affine  filter  8           # pattern scheme granularity bits
    *                 pwlq    filter  4  float16  # parameters stored as float16

One rule per line, or separated by ";" on a command line; "#" starts a comment. Patterns are those
of the shell (`*`, `?`, `[...]`) on names of convolutions. A layer that no rule matches stays as it
is. Biases, anchors and everything else that is not a convolution's weight stay float32.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from refquant.arrays.errors import BadInput
from refquant.graph.graph import Model, Node
from refquant.quant.granularity import find_granularity
from refquant.quant.scheme import FLOATS, check_bits
from refquant.quant.schemes import find_scheme
from refquant.quant.tensor import QuantizedTensor, quantize

WHERE = "recipe"
FORM = "write 'pattern skip' or 'pattern scheme granularity bits [float32 | float16]'"
# What folding kept for bounds on float models; wrong for a quantized one.
MAGNITUDES = ("bias_magnitude", "weight_magnitude")


class Rule(NamedTuple):
    """What layers whose name matches the pattern get; skip: nothing."""

    pattern: str
    scheme: str = ""
    granularity: str = ""
    bits: int = 0
    params_dtype: str = "float32"
    skip: bool = False


Recipe = Sequence[Rule]


def uniform(
    scheme: str = "affine",
    granularity: str = "filter",
    bits: int = 4,
    params_dtype: str = "float32",
) -> tuple[Rule, ...]:
    """The recipe that gives every convolution the same."""
    return (checked(Rule("*", scheme, granularity, bits, params_dtype)),)


def parse(text: str) -> tuple[Rule, ...]:
    """The rules of a recipe's text; a line that is none is refused with its words."""
    lines = [line.split("#")[0] for line in text.splitlines()]
    rules = [parse_rule(part) for line in lines for part in line.split(";") if part.strip()]
    if not rules:
        raise BadInput(WHERE, "has no rules", FORM)
    return tuple(rules)


def read(path: str | os.PathLike[str]) -> tuple[Rule, ...]:
    """The recipe in a text file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, f"is not a readable text file ({error})") from error
    return parse(text)


def with_default(
    recipe: str | None,
    scheme: str = "affine",
    granularity: str = "filter",
    bits: int = 4,
    params_dtype: str = "float32",
) -> tuple[Rule, ...]:
    """The rules of `recipe`, a text or the name of a file; then the default for all others."""
    default = uniform(scheme, granularity, bits, params_dtype)
    if recipe is None:
        return default
    return (*(read(recipe) if Path(recipe).is_file() else parse(recipe)), *default)


def parse_rule(text: str) -> Rule:
    """One rule from its words."""
    words = text.split()
    if len(words) == 2 and words[1] == "skip":
        return Rule(words[0], skip=True)
    if len(words) not in (4, 5) or not words[3].isdecimal():
        raise BadInput(WHERE, f"{text.strip()!r} is not a rule", FORM)
    pattern, scheme, granularity, bits, params_dtype = (*words, "float32")[:5]
    return checked(Rule(pattern, scheme, granularity, int(bits), params_dtype))


def checked(rule: Rule) -> Rule:
    """The rule, if its scheme, granularity, bits and dtype exist."""
    find_scheme(rule.scheme)
    find_granularity(rule.granularity)
    check_bits(rule.bits)
    if rule.params_dtype not in FLOATS:
        raise BadInput(WHERE, f"{rule.params_dtype!r} is no type", f"choose {' | '.join(FLOATS)}")
    return rule


def rule_for(name: str, recipe: Recipe) -> Rule | None:
    """The first rule whose pattern matches the layer's name."""
    return next((rule for rule in recipe if fnmatchcase(name, rule.pattern)), None)


def quantize_model(model: Model, recipe: Recipe, *, threads: int = 1) -> Model:
    """The model with the weights of its convolutions quantized as the recipe says.

    The result does not depend on `threads`.
    """
    check_patterns(recipe, [node.name for node in model.nodes if node.op == "conv"])
    with ThreadPoolExecutor(threads) as pool:
        nodes = pool.map(quantize_node, model.nodes, repeat(recipe))
    return model.with_nodes(tuple(nodes))


def quantize_node(node: Node, recipe: Recipe) -> Node:
    """The node with its weight quantized; itself where it is no convolution or is skipped."""
    rule = rule_for(node.name, recipe) if node.op == "conv" else None
    if rule is None or rule.skip:
        return node
    weight = node.arrays["weight"]
    if isinstance(weight, QuantizedTensor) or not isinstance(weight, np.ndarray):
        raise BadInput(node.name, "is quantized already", "start from the float32 model")
    tensor = quantize(
        weight,
        scheme=rule.scheme,
        granularity=rule.granularity,
        bits=rule.bits,
        params_dtype=rule.params_dtype,
        name=node.name,
    )
    arrays = {key: value for key, value in node.arrays.items() if key not in MAGNITUDES}
    return replace(node, arrays={**arrays, "weight": tensor})


def check_patterns(recipe: Recipe, names: Iterable[str]) -> None:
    """Refuse a pattern that matches no layer: it is a typing error, and would pass unseen."""
    names = list(names)
    for rule in recipe:
        if not any(fnmatchcase(name, rule.pattern) for name in names):
            raise BadInput(
                WHERE, f"{rule.pattern!r} matches no convolution", f"names are like {names[0]}"
            )
