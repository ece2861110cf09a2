"""Combinations of granularities: three readings, the optimum, the room that a saving leaves."""

from itertools import product

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.graph.architecture import build
from refquant.quant.accounting import accounting, folded_branches, other_numbers
from refquant.quant.choices import most_groups
from refquant.quant.combination import (
    Combination,
    Option,
    find_combination,
    greedily,
    least,
    within_budget,
)
from refquant.quant.recipe import parse, quantize_model

LAYERS = [
    [Option("filter", 10.0, 4), Option("f-shape", 6.0, 9), Option("c-shape", 5.0, 12)],
    [Option("filter", 8.0, 4), Option("f-shape", 7.0, 2), Option("c-shape", 1.0, 20)],
]


def names(options):
    return [option.granularity for option in options]


def test_three_readings_of_a_worked_example():
    assert names(map(least, LAYERS)) == ["c-shape", "c-shape"]
    # 14 groups: f-shape is cheaper and better for the second, then c-shape just fits the first
    assert names(within_budget(LAYERS, 14)) == ["c-shape", "f-shape"]
    # greedily: second to f-shape (free), first to f-shape (0.8 per group), then 3 more do not fit
    assert names(greedily(LAYERS, 13)) == ["f-shape", "f-shape"]


def test_of_equal_errors_the_fewest_groups_win():
    options = [Option("filter", 1.0, 9), Option("f-shape", 1.0, 3)]
    assert least(options).granularity == "f-shape"


@pytest.mark.parametrize("seed", range(20))
def test_the_budget_s_choice_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    layers = [
        [Option(f"{m}", float(rng.random()), int(rng.integers(1, 12))) for m in range(3)]
        for _ in range(5)
    ]
    fewest = sum(min(o.groups for o in options) for options in layers)
    for most in (fewest, fewest + 5, fewest + 17, 1000):
        allowed = [c for c in product(*layers) if sum(o.groups for o in c) <= most]
        best = min(sum(o.error for o in choice) for choice in allowed)
        chosen = within_budget(layers, most)
        assert sum(o.groups for o in chosen) <= most
        assert sum(o.error for o in chosen) == pytest.approx(best, rel=1e-12)


def test_greed_stays_within_the_budget_and_never_beats_the_optimum():
    rng = np.random.default_rng(0)
    for _ in range(50):
        layers = [
            [Option(f"{m}", float(rng.random()), int(rng.integers(1, 12))) for m in range(3)]
            for _ in range(6)
        ]
        most = sum(options[0].groups for options in layers) + 6
        chosen, best = greedily(layers, most), within_budget(layers, most)
        assert sum(o.groups for o in chosen) <= most
        assert sum(o.error for o in chosen) >= sum(o.error for o in best) - 1e-12


def test_too_little_room_is_refused_with_numbers():
    with pytest.raises(BadInput, match="leaves room for 5 groups, 6 are needed"):
        within_budget(LAYERS, 5)
    with pytest.raises(BadInput, match="are needed"):
        greedily(LAYERS, 5)


def test_names_of_combinations():
    assert find_combination("filter") is None
    assert find_combination("filter+f-shape") == Combination(("filter", "f-shape"))
    assert find_combination("filter+c-shape:greedy=3.9") == Combination(
        ("filter", "c-shape"), "greedy", 3.9
    )
    for text in ("filter+filtre", "filter+c-shape:budget=x", "filter+c-shape:greedy=1"):
        with pytest.raises(BadInput):
            find_combination(text)
    with pytest.raises(BadInput, match="'100' is not between 1 and 100"):
        find_combination("filter+c-shape:greedy=100")


MODEL = build("yolov7", width=0.125, classes=3)


@pytest.mark.parametrize("reading", ["budget", "greedy"])
@pytest.mark.parametrize(("scheme", "saving"), [("affine", 3.2), ("pwlq", 2.9)])
def test_a_total_saving_is_kept_and_nearly_used_up(reading, scheme, saving):
    recipe = parse(f"model.105.* skip; * {scheme} filter+f-shape+c-shape:{reading}={saving} 4")
    sizes = accounting(quantize_model(MODEL, recipe))
    assert saving <= sizes["ratios"]["nominal"]["fp16"] < saving + 0.005
    assert len({row["granularity"] for row in sizes["layers"]}) > 1


@pytest.mark.parametrize(("scheme", "numbers"), [("affine", 2), ("pwlq", 4)])
def test_the_room_is_the_most_groups_that_keep_the_saving(scheme, numbers):
    (rule,) = parse(f"* {scheme} filter+c-shape:budget=3 4")
    chosen = {node.name: rule for node in MODEL.nodes if node.op == "conv"}
    branches = {node.name: shape for node, shape in folded_branches(MODEL)}
    assert branches  # RepConv is among them
    other = 2 * other_numbers(MODEL)
    for saving in (2.5, 3.0, 3.1, 3.2):
        most = most_groups(MODEL, chosen, rule, saving, branches)
        kept, broken = (
            (2 * MODEL.counts.weights + other)
            / (MODEL.counts.weights / 2 + 4 * numbers * groups + other)
            for groups in (most, most + 1)
        )
        assert broken < saving <= kept


@pytest.mark.parametrize("turned", [False, True])
def test_a_total_saving_takes_any_place_in_a_recipe(turned):
    """The head comes last in the network, so each of both rules is the first to be met once."""
    total, other = "filter+c-shape:budget=3 4", "filter+channel 4"
    head, rest = (other, total) if turned else (total, other)
    model = quantize_model(MODEL, parse(f"model.105.* affine {head}; * affine {rest}"))
    found = {node.name: node.arrays.get("weight") for node in model.nodes}
    assert found["model.105.m.0"].granularity in head
    assert found["model.0.conv"].granularity in rest


def test_two_total_savings_in_one_recipe_are_refused():
    text = "model.0.conv affine filter+c-shape:budget=3 4; * affine filter+c-shape:budget=3.1 4"
    with pytest.raises(BadInput, match="two combinations with a total saving"):
        quantize_model(MODEL, parse(text))
