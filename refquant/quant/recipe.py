"""Recipes: which layer gets what, as text; and `quantize_model`, which does it.

    model.0.conv      skip                        # stays float32
    model.105.*       affine  filter  8           # pattern scheme granularity bits
    model.1?.conv     affine  filter+c-shape  4   # a combination, see combination.py
    *                 pwlq    filter  4  float16  # parameters stored as float16

One rule per line, or separated by ";" on a command line; "#" starts a comment. The first rule
whose pattern matches a convolution's name wins; one that no rule matches stays as it is, and so do
biases, anchors and everything else that is not a convolution's weight.

Before folding or after it: a model is quantized as it is. Of an unfolded one the raw weights are
quantized and the batch norms kept; folding it later decodes first (graph/fold.py). What folding
left behind for bounds on float models (`bias_magnitude`, `weight_magnitude`) would be wrong for a
quantized one and is dropped. The recipe is kept in the model's provenance.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.graph.graph import Model, Node, array_of
from refquant.quant.plan import Plan, plan
from refquant.quant.rules import WHERE, Recipe, Rule, checked
from refquant.quant.scheme import FLOATS
from refquant.quant.tensor import quantize

FORM = "write 'pattern skip' or 'pattern scheme granularity bits [float32 | float16]'"
MOST_DIGITS = 9  # of bits: int() refuses thousands in its own words
MAGNITUDES = ("bias_magnitude", "weight_magnitude")


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
    if os.path.isfile(recipe):  # False for a text too long to be a name; Path's raises
        return (*read(recipe), *default)
    if len(recipe.split()) == 1:
        raise BadInput(f"recipe={recipe!r}", "is neither a file nor a rule", FORM)
    return (*parse(recipe), *default)


def quantize_model(
    model: Model, recipe: Recipe, *, bias_dtype: str = "float32", threads: int = 1
) -> Model:
    """The model with the weights of its convolutions quantized as the recipe says.

    bias_dtype   float32, or float16 to store the biases of quantized convolutions in half
    A layer that is quantized already, or has NaN or inf, is refused by name. The result does not
    depend on `threads`.
    """
    if bias_dtype not in FLOATS:
        raise BadInput(f"bias_dtype={bias_dtype!r}", f"choose {' | '.join(FLOATS)}")
    if "recipe" in model.source:
        raise BadInput("model", "is quantized already", "start from the float32 model")
    with ThreadPoolExecutor(threads) as executor:
        chosen = plan(model, recipe, executor)
        nodes = executor.map(lambda node: quantize_node(node, chosen, bias_dtype), model.nodes)
        quantized = model.with_nodes(tuple(nodes))
    return replace(quantized, source={**model.source, "recipe": "; ".join(map(str, recipe))})


def quantize_node(node: Node, chosen: Plan, bias_dtype: str) -> Node:
    """The node with its weight quantized; itself where nothing is chosen for it."""
    rule = chosen.get(node.name)
    if rule is None:
        return node
    weight = node.arrays["weight"]
    if not isinstance(weight, np.ndarray):
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
    if "bias" in arrays:
        arrays["bias"] = rounded(array_of(arrays["bias"]), bias_dtype, f"{node.name}, bias")
    return replace(node, arrays={**arrays, "weight": tensor})


def rounded(array: NDArray[Any], dtype: str, name: str) -> NDArray[Any]:
    """The array as `dtype`, to nearest; what does not fit is refused by name."""
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    if (np.isfinite(array) & ~np.isfinite(result)).any():
        raise BadInput(name, f"{np.abs(array).max():.6g} does not fit {dtype}", "keep float32")
    return result
