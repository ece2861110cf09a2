"""Recipes: `quantize_model` gives every convolution of a model what a recipe says.

    text  ->  rules  ->  one choice per layer  ->  codes and parameters in the layer's place
      rules.py        choices.py             tensor.py, `quantize`

A model is quantized as it is, before folding or after it. In an unfolded one the raw weights are
quantized and the batch norms are kept; folding it later decodes the weights first (graph/fold.py).
What folding left behind for bounds on float models (`bias_magnitude`, `weight_magnitude`) would be
wrong for a quantized model and is dropped. The recipe is kept in the model's provenance.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.graph.graph import Model, Node, array_of
from refquant.quant.choices import Choices, choose
from refquant.quant.rules import FORM, GivenRules, Rule, checked, parse, read, some
from refquant.quant.scheme import FLOATS
from refquant.quant.tensor import quantize

MAGNITUDES = ("bias_magnitude", "weight_magnitude")


def uniform(
    scheme: str = "affine",
    granularity: str = "filter",
    bits: int = 4,
    params_dtype: str = "float32",
) -> tuple[Rule, ...]:
    """The recipe that gives every convolution the same."""
    return (checked(Rule("*", scheme, granularity, bits, params_dtype)),)


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
    if os.path.isfile(recipe):  # False for a text too long to be a name, where Path's raises
        return (*read(recipe), *default)
    if len(recipe.split()) == 1:
        raise BadInput(f"recipe={recipe!r}", "is neither a file nor a rule", FORM)
    return (*parse(recipe), *default)


def rules_of(recipe: str | GivenRules, keywords: dict[str, Any]) -> tuple[Rule, ...]:
    """The rules that `quantize_model` was given: as text, as rules, or as a scheme's name.

    keywords   granularity, bits and params_dtype where given: they belong to a scheme's name
    """
    if isinstance(recipe, str) and len(recipe.split()) == 1 and not set("#;") & set(recipe):
        return uniform(recipe.strip(), **keywords)
    if keywords:
        raise BadInput(
            ", ".join(f"{key}={value!r}" for key, value in keywords.items()),
            "is for a scheme's name alone",
            "write it into the rules of the recipe",
        )
    return parse(recipe) if isinstance(recipe, str) else some(recipe)


def quantize_model(
    model: Model,
    recipe: str | GivenRules,
    *,
    granularity: str | None = None,
    bits: int | None = None,
    params_dtype: str | None = None,
    bias_dtype: str = "float32",
    threads: int = 1,
) -> Model:
    """Quantize the weights of a model's convolutions, as a recipe says.

    The first rule whose pattern matches a convolution's name wins. Convolutions that no rule
    matches stay float32, and so do biases, anchors and everything else.

    Parameters
    ----------
    model : Model
        A float32 model, folded or not; it is not changed.
    recipe : str or iterable of Rule or tuple
        The text of a recipe, such as ``"model.0.conv skip; * affine filter 4"``; or its rules,
        each a `Rule` or its words as a tuple, such as ``("*", "affine", "filter", 4)``; or the
        name of a scheme alone, such as ``"affine"``, which every convolution gets.
    granularity : str, optional
        With the name of a scheme: the granularity or combination, by default ``"filter"``.
    bits : int, optional
        With the name of a scheme: the width of a code, 2 to 8, by default 4.
    params_dtype : str, optional
        With the name of a scheme: the type of stored parameters, ``"float32"`` (the default) or
        ``"float16"``.
    bias_dtype : str, default "float32"
        The type of the biases of quantized convolutions, ``"float32"`` or ``"float16"``.
    threads : int, default 1
        How many layers are quantized at a time; the result does not depend on it.

    Returns
    -------
    Model
        The same graph, with a `QuantizedTensor` in the place of each weight that was quantized.

    Raises
    ------
    BadInput
        If the recipe is empty or is none, if a pattern matches no convolution, if the model or a
        layer is quantized already, or if a layer has NaN or inf.

    Examples
    --------
    >>> import refquant
    >>> model = refquant.load_model("demo")
    >>> small = refquant.quantize_model(model, "model.0.conv skip; * affine filter 4")
    >>> small.source["recipe"]
    'model.0.conv skip; * affine filter 4 float32'
    >>> small["model.1.conv"].arrays["weight"].bits
    4
    >>> same = refquant.quantize_model(model, "pwlq", granularity="c-shape", bits=3)
    >>> same.source["recipe"]
    '* pwlq c-shape 3 float32'
    """
    given = {"granularity": granularity, "bits": bits, "params_dtype": params_dtype}
    rules = rules_of(recipe, {key: value for key, value in given.items() if value is not None})
    if bias_dtype not in FLOATS:
        raise BadInput(f"bias_dtype={bias_dtype!r}", f"choose {' | '.join(FLOATS)}")
    if "recipe" in model.source:
        raise BadInput("model", "is quantized already", "start from the float32 model")
    with ThreadPoolExecutor(threads) as executor:
        chosen = choose(model, rules, executor)
        nodes = executor.map(lambda node: quantize_node(node, chosen, bias_dtype), model.nodes)
        quantized = model.with_nodes(tuple(nodes))
    return replace(quantized, source={**model.source, "recipe": "; ".join(map(str, rules))})


def quantize_node(node: Node, chosen: Choices, bias_dtype: str) -> Node:
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
