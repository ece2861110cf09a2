"""Choices: from a recipe's rules to one granularity for every convolution of a model.

A rule whose granularity is a combination needs to know the errors of its members, and a total
saving needs to know all layers: both are settled here, before anything is quantized for good.

    B = floor((unfolded FP16 bytes / saving - bytes that do not depend on the choice) / unit)   (1)
    unit = 4 bytes * quantizer parameters per group of the scheme

counted in the paper's way (accounting.py); a RepConv's folded 1x1 branch counts with its layer.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.graph.graph import Model, Node
from refquant.quant.accounting import Stored, folded_branches, nominal_total, unfolded_fp16
from refquant.quant.combination import READERS, Combination, Option, find_combination, least
from refquant.quant.granularity import find_granularity
from refquant.quant.rules import Recipe, Rule, check_patterns, rule_for
from refquant.quant.schemes import find_scheme
from refquant.quant.sums import total_of_squares
from refquant.quant.tensor_check import checked_weight

Choices = Mapping[str, Rule]


def choose(model: Model, recipe: Recipe, executor: Executor) -> Choices:
    """Convolution's name -> its rule with one granularity; without layers that stay float."""
    convs = [node for node in model.nodes if node.op == "conv"]
    check_patterns(recipe, [node.name for node in convs])
    rules = {node.name: rule_for(node.name, recipe) for node in convs}
    chosen = {name: rule for name, rule in rules.items() if rule is not None and not rule.skip}
    # Rules with a total saving come last: it depends on what all other layers get.
    for rule in sorted(dict.fromkeys(chosen.values()), key=has_total):
        combination = find_combination(rule.granularity)
        if combination is None:
            continue
        nodes = [node for node in convs if chosen.get(node.name) == rule]
        layers = list(executor.map(partial(options_of, rule, combination.members), nodes))
        if combination.reading == "least":
            picks = [least(options) for options in layers]
        else:
            picks = within_total(model, chosen, rule, combination, nodes, layers)
        for node, pick in zip(nodes, picks, strict=True):
            chosen[node.name] = rule._replace(granularity=pick.granularity)
    return chosen


def within_total(
    model: Model,
    chosen: Choices,
    rule: Rule,
    combination: Combination,
    nodes: Sequence[Node],
    layers: Sequence[list[Option]],
) -> list[Option]:
    """One option per node, all of them together within the room of (1)."""
    branches = {node.name: shape for node, shape in folded_branches(model)}
    layers = [
        with_branch(options, branches.get(node.name))
        for node, options in zip(nodes, layers, strict=True)
    ]
    room = most_groups(model, chosen, rule, combination.saving, branches)
    return READERS[combination.reading](layers, room)


def has_total(rule: Rule) -> bool:
    """Whether the rule is of a combination with a total saving."""
    combination = find_combination(rule.granularity)
    return combination is not None and combination.reading != "least"


def options_of(rule: Rule, members: Sequence[str], node: Node) -> list[Option]:
    """What each member of the rule's combination means for one layer: squared error and groups."""
    weight = node.arrays["weight"]
    if not isinstance(weight, np.ndarray):
        raise BadInput(node.name, "is quantized already", "start from the float32 model")
    w = checked_weight(weight, node.name)
    return [option_of(w, member, rule) for member in members]


def option_of(w: NDArray[np.float32], member: str, rule: Rule) -> Option:
    """Squared error and groups of one weight with one granularity."""
    granularity, scheme = find_granularity(member), find_scheme(rule.scheme)
    rows = granularity.to_rows(w)
    params, codes = scheme.encode(rows, rule.bits, rule.params_dtype)
    x_hat = granularity.from_rows(scheme.decode(codes, params, rule.bits), w.shape)
    error = (x_hat - w.astype(np.float64)).reshape(1, -1)
    return Option(member, float(total_of_squares(error)[0, 0]), len(rows))


def with_branch(options: list[Option], branch: tuple[int, ...] | None) -> list[Option]:
    """The options with the groups of a folded branch of that shape added."""
    if branch is None:
        return options
    return [
        option._replace(
            groups=option.groups + find_granularity(option.granularity).rows_shape(branch)[0]
        )
        for option in options
    ]


def most_groups(
    model: Model,
    chosen: Choices,
    rule: Rule,
    saving: float,
    branches: Mapping[str, tuple[int, ...]],
) -> int:
    """Equation (1): the groups that the layers of `rule` may have together."""
    unit = 4 * find_scheme(rule.scheme).nominal_params(rule.bits)
    counted = 0

    def stored(node: Node) -> Stored | None:
        nonlocal counted
        own = chosen.get(node.name)
        if own is None:
            return None
        if own == rule:
            counted += 1 + (node.name in branches)
            return Stored(own.scheme, "layer", own.bits)  # one group, taken off again below
        if find_combination(own.granularity) is not None:
            raise BadInput("recipe", "has two combinations with a total saving", "keep one")
        return Stored(own.scheme, own.granularity, own.bits)

    total = nominal_total(model, {n.name: stored(n) for n in model.nodes if n.op == "conv"})
    return math.floor((unfolded_fp16(model) / saving - (total - unit * counted)) / unit)
