"""The paper's claims: memory from YOLOv7's shapes, verdicts from intervals."""

import json
import math

import numpy as np
import pytest
from made_results import SIZES, ap, results_of
from small_model import small_model
from study_cells import make_grid_data, noisy_cells, run

from refquant.graph.graph import Node
from refquant.quant.accounting import accounting
from refquant.quant.recipe import quantize_model, uniform
from refquant.study import yolov7_memory
from refquant.study.bootstrap import VERDICTS
from refquant.study.claims import FAILS, HOLDS, NOT, OPEN, REPRODUCED, claims, judged
from refquant.study.configurations import (
    FLOAT,
    PAPER_GRANULARITIES,
    PAPER_SCHEMES,
    Configuration,
    preset,
)
from refquant.study.measure import error_of, filter_saving
from refquant.study.results import Measured, assembled, difference

BETTER, WORSE, OPEN_PAIR = VERDICTS


def claim_of(results, start):
    (found,) = [claim for claim in claims(results) if claim.claim.startswith(start)]
    return found


AFFINE, PWLQ = Configuration("affine", "filter", 4), Configuration("pwlq", "filter", 4)
WIDER = Configuration("affine", "filter", 5)


def test_the_memory_of_yolov7_at_filter_level_by_hand():
    # 37,569,632 weights, 25,629 filters, 24,864 batch-norm channels, 765 biases.
    others = 2 * (4 * 24864 + 765)
    by_hand = (2 * 37569632 + others) / (37569632 / 2 + 8 * 25629 + others)
    assert yolov7_memory.saving("affine", "filter", 4) == pytest.approx(by_hand, rel=1e-12)
    assert round(by_hand, 3) == 3.926
    assert round(yolov7_memory.saving("pwlq", "filter", 4), 3) == 3.884
    assert round(yolov7_memory.saving("pwlq", "filter", 4, stored=True), 2) == 3.13


def test_the_room_of_a_saving_is_where_it_rounds_to_it():
    low, high = yolov7_memory.room(3.92, "affine", 4)
    network = yolov7_memory.yolov7()

    def saving(groups):
        size = yolov7_memory.size(network.counts.weights / 2, "affine", 4, groups)
        return yolov7_memory.baseline() / size

    assert 3.915 <= saving(high) < saving(low) <= 3.925
    assert not 3.915 <= saving(high + 1) <= 3.925
    assert not 3.915 <= saving(low - 1) <= 3.925
    assert yolov7_memory.groups("filter") < low


def test_a_models_own_filter_saving_is_that_of_the_accounting():
    model = noisy_cells()
    ratio = accounting(quantize_model(model, uniform("pwlq", "filter", 4)))["ratios"]["nominal"]
    assert filter_saving(model)("pwlq", 4) == pytest.approx(ratio["fp16"], rel=1e-3)


def test_memory_is_reproduced_in_nominal_bits_and_the_stored_ones_are_told():
    claim = claim_of(results_of([]), "Memory at 4 bits, PWLQ alone")
    assert claim.verdict == REPRODUCED
    assert list(claim.here) == ["3.884x nominal", "3.127x stored"]
    assert "5 bits are stored" in claim.reason


def test_the_memory_of_a_combination_cannot_be_decided():
    claim = claim_of(results_of([]), "Memory at 4 bits, uniform combination")
    assert claim.verdict == OPEN
    assert "is not printed" in claim.reason


def test_a_loss_on_another_network_or_other_images_cannot_be_decided():
    rows = [(AFFINE, 0.466, 0.001)]
    for options in ({}, {"official": "yolov7.pt", "images": 4999}, {"official": "yolov7-tiny.pt"}):
        claim = claim_of(results_of(rows, **options), "Loss of mAP at 4 bits, affine alone")
        assert claim.verdict == OPEN
    assert list(claim.here) == ["3.4 points [3.3, 3.5], 6.8% relative"]


@pytest.mark.parametrize(("value", "verdict"), [(0.466, REPRODUCED), (0.483, REPRODUCED)])
def test_a_loss_on_the_papers_ground_is_reproduced_in_points_or_relative(value, verdict):
    results = results_of([(AFFINE, value, 0.001)], official="yolov7.pt")
    assert claim_of(results, "Loss of mAP at 4 bits, affine alone").verdict == verdict


def test_a_loss_on_the_papers_ground_beyond_the_interval_is_not_reproduced():
    results = results_of([(AFFINE, 0.44, 0.001)], official="yolov7.pt")
    assert claim_of(results, "Loss of mAP at 4 bits, affine alone").verdict == NOT


def test_what_was_not_run_cannot_be_decided():
    claim = claim_of(results_of([]), "PWLQ loses less than affine")
    assert (claim.verdict, list(claim.here)) == (OPEN, ["not evaluated"])


@pytest.mark.parametrize(
    ("pwlq", "spread", "verdict"),
    [(0.45, 0.01, REPRODUCED), (0.35, 0.01, NOT), (0.41, 0.02, OPEN)],
)
def test_an_order_is_decided_by_its_interval_alone(pwlq, spread, verdict):
    results = results_of([(AFFINE, 0.4, 0.0), (PWLQ, pwlq, spread)])
    assert claim_of(results, "PWLQ loses less than affine").verdict == verdict


def test_pwlq_is_also_compared_at_equal_stored_bits():
    results = results_of([(AFFINE, 0.4, 0.0), (PWLQ, 0.45, 0.01), (WIDER, 0.48, 0.0)])
    assert claim_of(results, "PWLQ loses less than affine").verdict == REPRODUCED
    assert claim_of(results, "... at equal stored bits").verdict == FAILS
    results = results_of([(AFFINE, 0.4, 0.0), (PWLQ, 0.45, 0.01), (WIDER, 0.42, 0.0)])
    assert claim_of(results, "... at equal stored bits").verdict == HOLDS


def test_readings_that_disagree_decide_nothing():
    pair = {"images_for_one_point": 10}
    assert judged([pair | {"verdict": BETTER}, pair | {"verdict": BETTER}])[0] == REPRODUCED
    assert judged([pair | {"verdict": WORSE}])[0] == NOT
    assert judged([pair | {"verdict": BETTER}, pair | {"verdict": WORSE}])[0] == OPEN
    assert judged([pair | {"verdict": BETTER}, pair | {"verdict": OPEN_PAIR}])[0] == OPEN


def test_the_best_is_the_combination_only_against_the_best_single_granularity():
    mixed = Configuration("affine", "filter+f-shape+c-shape", 4)
    shape = Configuration("affine", "c-shape", 4)
    beats_one = [(AFFINE, 0.4, 0.0), (shape, 0.45, 0.0), (mixed, 0.43, 0.01)]
    assert claim_of(results_of(beats_one), "Best:").verdict == NOT
    beats_all = [(AFFINE, 0.4, 0.0), (shape, 0.45, 0.0), (mixed, 0.48, 0.01)]
    assert claim_of(results_of(beats_all), "Best:").verdict == REPRODUCED
    blocks = Configuration("affine", "block-64", 4)  # the paper knows no blocks
    assert claim_of(results_of([*beats_all, (blocks, 0.5, 0.0)]), "Best:").verdict == REPRODUCED


def test_a_difference_of_two_replicates_by_hand():
    # differences of replicates: -0.03 and -0.01; quantiles 2.5 % and 97.5 % lie between them.
    found = difference(ap(0.48, 0.01), ap(0.5), 100)
    assert found["points"] == pytest.approx(-2)
    assert (found["low"], found["high"]) == (pytest.approx(-2.95), pytest.approx(-1.05))
    assert found["verdict"] == WORSE
    assert found["percent"] == pytest.approx(-4)


def test_a_pareto_front_by_hand():
    def sizes(bits):
        return SIZES | {"bits_per_weight": {"nominal": bits, "packed": bits}}

    points = [(4.0, 0.4), (4.1, 0.3), (5.0, 0.45), (5.0, 0.44), (3.0, 0.4)]
    facts = {
        "model": {"name": "m", "official": None, "parameters": 1},
        "data": {"name": "d", "images": 10},
    }
    records = [Measured(FLOAT, SIZES, ap(0.5))]
    for k, (bits, value) in enumerate(points):
        records.append(
            Measured(
                Configuration("affine", f"axes:{'FCRS'[k % 4]}", 4 + k // 4),
                sizes(bits),
                ap(value),
            )
        )
    rows = assembled(facts, records)["configurations"][1:]
    assert [row["front"]["packed"] for row in rows] == [False, False, True, False, True]


def test_presets_hold_what_the_study_asks_for():
    saving = filter_saving(noisy_cells())
    quick, recorded, paper = (preset(name, saving) for name in ("quick", "recorded", "paper"))
    assert set(quick) < set(recorded) < set(paper)
    assert paper[: len(quick)] == quick  # what settles most comes first
    for scheme in PAPER_SCHEMES:
        for granularity in PAPER_GRANULARITIES:
            assert Configuration(scheme, granularity, 4) in recorded
    for bits in (8, 6, 5, 4, 3):
        assert {
            Configuration("affine", "filter", bits),
            Configuration("pwlq", "filter", bits),
        } < set(recorded)
    assert len([c for c in recorded if c.combined]) == 9
    assert len(set(paper)) == len(paper)


def test_every_scheme_of_the_catalogue_is_in_the_papers_preset():
    from refquant.quant.schemes import SCHEMES

    paper = {c.scheme for c in preset("paper", filter_saving(noisy_cells()))}
    assert set(SCHEMES) <= paper


def test_a_real_run_has_a_claim_for_each_published_figure(tmp_path):
    results = run(make_grid_data(tmp_path / "data"), tmp_path / "out")
    assert len(results["claims"]) == len(claims(results)) == 13
    assert {claim["verdict"] for claim in results["claims"]} <= {REPRODUCED, NOT, OPEN}
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_errors_of_a_layer_by_hand():
    # Two filters of one weight each, 1 and 10, each off by 0.1: noise (0.01 + 0.0001) / 2.
    w = np.array([1.0, 10.0], np.float32).reshape(2, 1, 1, 1)
    exact, off = (
        small_model().with_nodes((Node("a", "conv", ("images",), {}, {"weight": x}),))
        for x in (w, w + np.float32(0.1))
    )
    found = error_of(exact, off, {"name": "a", "scheme": "affine"})
    assert found["noise"] == pytest.approx((0.01 + 0.0001) / 2, rel=1e-5)
    assert found["sqnr_db"] == pytest.approx(10 * math.log10(101 / 0.02), rel=1e-5)
    assert error_of(exact, exact, {"name": "a", "scheme": "affine"}) == {
        "noise": 0.0,
        "sqnr_db": None,
    }
