"""The report's first words: said where the numbers say so, and left out where they do not."""

import pytest
from made_results import results_of

from refquant.study.configurations import MEMBERS, Configuration
from refquant.study.report.document import Bullets
from refquant.study.report.findings import combinations, findings

FILTER, SHAPE = (Configuration("affine", name, 4) for name in ("filter", "c-shape"))
LEAST = Configuration("affine", MEMBERS, 4)
WHY = "the smallest error of the weights is not the smallest loss of AP"


def test_a_combination_that_loses_more_than_its_member_is_explained_in_one_line():
    results = results_of([(FILTER, 0.36, 0.0), (LEAST, 0.22, 0.01)])
    text = combinations(results)
    assert text.startswith(
        "affine combination 4 loses 28.0 points of AP, affine filter 4 alone 14.0: a combination"
    )
    assert WHY in text and "\n" not in text
    bullets = next(block for block in findings(results) if isinstance(block, Bullets))
    assert text in bullets.items


@pytest.mark.parametrize(("combined", "spread"), [(0.45, 0.01), (0.36, 0.0), (0.33, 0.05)])
def test_one_that_loses_less_or_cannot_be_told_apart_is_not(combined, spread):
    results = results_of([(FILTER, 0.36, 0.0), (LEAST, combined, spread)])
    assert combinations(results) == ""
    assert all(WHY not in str(block) for block in findings(results))


def test_it_stands_beside_the_best_of_its_members_that_lose_less():
    results = results_of([(FILTER, 0.36, 0.0), (SHAPE, 0.40, 0.0), (LEAST, 0.22, 0.01)])
    assert "affine c-shape 4 alone 10.0" in combinations(results)
    assert "filter" not in combinations(results)
    results = results_of([(FILTER, 0.20, 0.0), (SHAPE, 0.40, 0.0), (LEAST, 0.22, 0.01)])
    assert "affine c-shape 4 alone 10.0" in combinations(results)


@pytest.mark.parametrize(
    "other",
    [
        Configuration("affine", f"{MEMBERS}:budget=3.920", 4),  # has a budget, so another reason
        Configuration("affine", "c-shape+f-shape", 4),  # filter is none of its members
        Configuration("affine", "layer", 4),
    ],
)
def test_what_is_not_chosen_by_least_error_from_the_other_is_not_explained_by_it(other):
    assert combinations(results_of([(FILTER, 0.36, 0.0), (other, 0.22, 0.01)])) == ""


def test_every_scheme_has_its_own_clause():
    rows = [(FILTER, 0.36, 0.0), (LEAST, 0.22, 0.01)]
    rows += [(c._replace(scheme="pwlq"), ap + 0.1, spread) for c, ap, spread in rows]
    text = combinations(results_of(rows))
    assert "pwlq combination 4 loses 18.0 points of AP, pwlq filter 4 alone 4.0" in text
    assert text.count(WHY) == 1 and text.count("loses") == 2
