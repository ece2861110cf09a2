"""Error bars: AP with weights against pycocotools, literal resamples, known distributions."""

import json
from dataclasses import replace

import numpy as np
import pytest
from detected import data, random_case, result, truth

from refquant.arrays.errors import BadInput
from refquant.detection.score import score
from refquant.study.bootstrap import (
    ap_ref,
    average_precision,
    compare,
    compare_matches,
    drawn,
    interval_of,
)
from refquant.study.matches import FALSE, IGNORED, RIGHT, matches_of

# Image 1: its cat is found. Image 2: its cat is missed, and something else scores higher.
BOTH = data(truth(1, 3, [10, 10, 50, 50]), truth(2, 3, [10, 10, 50, 50]))
HALF = [result(1, 3, [10, 10, 50, 50], 0.5), result(2, 3, [200, 200, 9, 9], 0.9)]
FULL = [result(1, 3, [10, 10, 50, 50], 0.5), result(2, 3, [10, 10, 50, 50], 0.9)]


def weighted(dataset, results, *weights):
    return average_precision(matches_of(dataset, results), np.array(weights, float))


def test_ap_of_a_worked_example_with_weights():
    # Weights 1, 1: precision 1/2 up to recall 1/2: 51 of 101 recalls. 3, 1: 3/4 up to 3/4: 76.
    # 1, 0: precision 1. 0, 1: nothing found.
    ap = weighted(BOTH, HALF, [1, 1], [3, 1], [1, 0], [0, 1])
    assert ap == pytest.approx([0.5 * 51 / 101, 0.75 * 76 / 101, 1, 0], abs=1e-15)


def test_the_matches_of_a_worked_example():
    matches = matches_of(BOTH, HALF)
    assert matches.image.tolist() == [1, 0]  # by falling score
    assert matches.verdict.tolist() == [[FALSE, RIGHT]] * 10
    assert matches.start.tolist() == [0, 2, 2]
    assert matches.truths.tolist() == [[1, 1], [0, 0]]


def test_a_detection_of_a_crowd_is_ignored():
    crowd = data(truth(1, 3, [10, 10, 50, 50], iscrowd=1), truth(2, 3, [10, 10, 50, 50]))
    matches = matches_of(crowd, FULL)
    assert matches.verdict[:, 1].tolist() == [IGNORED] * 10
    assert matches.truths[0].tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(8))
def test_unit_weights_give_the_ap_of_pycocotools(seed):
    dataset, results = random_case(seed)
    ap = score(dataset, results).AP
    assert abs(weighted(dataset, results, [1] * 12)[0] - ap) <= 1e-12
    assert abs(weighted(dataset, results, [1] * 6 + [2] * 6)[0] - ap) > 1e-6


@pytest.mark.parametrize("seed", range(8))
def test_the_loops_equal_the_definition(seed):
    dataset, results = random_case(seed)
    matches = matches_of(dataset, results)
    weights = np.concatenate([drawn(12, 20, seed), np.random.default_rng(seed).random((5, 12))])
    expected = [ap_ref(matches, row) for row in weights]
    # the same terms, at most 2 * 10 * 101 of them, each at most 1, summed in another order
    assert average_precision(matches, weights) == pytest.approx(expected, abs=2020 * 2**-53)


def literal(dataset, results, counts):
    """pycocotools' AP on a data set that has image i counts[i] times under different ids."""
    images, truths, found = [], [], []
    for image, count in zip(dataset.images, counts, strict=True):
        for copy in range(int(count)):
            key = 100 * image.id + copy
            images.append(image._replace(id=key))
            truths += [t._replace(image_id=key) for t in dataset.truths if t.image_id == image.id]
            found += [r | {"image_id": key} for r in results if r["image_id"] == image.id]
    return score(replace(dataset, images=tuple(images), truths=tuple(truths)), found).AP


@pytest.mark.parametrize("seed", range(6))
def test_whole_weights_equal_pycocotools_on_copies_of_the_images(seed):
    dataset, results = random_case(seed)
    rng = np.random.default_rng(seed)
    scores = rng.permutation(len(results)) / len(results)  # no two equal
    results = [r | {"score": float(s)} for r, s in zip(results, scores, strict=True)]
    dataset = replace(dataset, images=tuple(sorted(dataset.images)))
    for counts in drawn(12, 5, seed):
        ap = weighted(dataset, results, counts)[0]
        assert abs(ap - literal(dataset, results, counts)) <= 1e-12


def test_weights_without_true_boxes_have_no_ap():
    empty = data(truth(1, 3, [10, 10, 50, 50]))
    assert np.isnan(weighted(empty, HALF, [0, 1])[0])
    assert np.isnan(ap_ref(matches_of(empty, HALF), np.array([0.0, 1.0])))


def test_results_compared_with_themselves_differ_by_nothing():
    dataset, results = random_case(3)
    found = compare(dataset, results, results[::-1], resamples=50)
    assert (found.difference, found.low, found.high, found.deviation) == (0, 0, 0, 0)
    assert found.verdict == "not to be told apart"
    assert found.images_needed(0.01) == 1


def many(found, images=200):
    """A data set of one box per image, which is found in the images that `found` is true for."""
    box = [10, 10, 50, 50]
    keys = range(1, images + 1)
    dataset = data(*(truth(key, 3, box) for key in keys), images=tuple(keys))
    return dataset, [result(key, 3, box, 0.5) for key in keys if found(key)]


def test_a_large_difference_is_better_one_way_and_worse_the_other():
    dataset, all_found = many(lambda key: True)
    _, half_found = many(lambda key: key % 2)
    found = compare(dataset, all_found, half_found, resamples=200)
    assert (found.AP, found.AP_other) == pytest.approx((1, 51 / 101))
    assert 0 < found.low < found.difference < found.high
    assert found.verdict == "better"
    assert compare(dataset, half_found, all_found, resamples=200).verdict == "worse"


def test_a_difference_by_chance_is_not_called_better():
    dataset, one_found = many(lambda key: key != 1)
    _, other_found = many(lambda key: key not in (2, 3, 4))
    found = compare(dataset, one_found, other_found, resamples=500)
    assert found.difference > 0
    assert found.low <= 0 <= found.high
    assert found.verdict == "not to be told apart"


def test_the_interval_is_that_of_a_binomial_where_one_is_known():
    # One box per image, found or not, no false ones: AP is the recall, up to the grid of 0.01.
    dataset, some = many(lambda key: key % 5 != 0, images=1000)
    _, nothing = many(lambda key: False, images=1000)
    found = compare(dataset, some, nothing, resamples=2000, seed=1)
    deviation = np.sqrt(0.8 * 0.2 / 1000)
    # 2000 draws know a deviation to 1 / sqrt(4000) = 1.6 %; three times that, and the grid
    assert found.deviation == pytest.approx(deviation, rel=0.05)
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert found.images_needed(0.01) == pytest.approx(
        (3.92 * deviation / 0.01) ** 2 * 1000, rel=0.1
    )


def test_pairing_makes_the_interval_narrower():
    dataset, results = random_case(4)
    worse = [r | {"score": r["score"] / 2} if r["image_id"] == 3 else r for r in results]
    a, b = matches_of(dataset, results), matches_of(dataset, worse)
    weights = drawn(12, 400, 0)
    one, other = average_precision(a, weights), average_precision(b, weights)
    apart = one - np.roll(other, 1)
    assert compare_matches(a, b, resamples=400).deviation < apart.std(ddof=1) / 2


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    dataset, results = random_case(5)
    first = compare(dataset, results, results[::2], resamples=100, seed=7)
    assert first == compare(dataset, results[::-1], results[::2], resamples=100, seed=7)
    assert first.low != compare(dataset, results, results[::2], resamples=100, seed=8).low


def test_four_times_the_images_are_needed_for_half_the_width():
    dataset, results = random_case(6)
    found = compare(dataset, results, results[::2], resamples=100)
    wide = found.images_needed(0.1)
    assert found.images_needed(0.05) == pytest.approx(4 * wide, abs=4)
    assert json.loads(json.dumps(found.to_json()))["images_for_one_point"] > wide


def test_draws_have_as_many_images_as_there_are():
    weights = drawn(361, 50, 0)
    assert weights.shape == (50, 361)
    assert (weights.sum(axis=1) == 361).all()
    assert len(np.unique(weights, axis=0)) == 50


def without_draws():
    """Of 40 images one has a true box, and neither of the first two resamples draws it."""
    left_out = 1 + int(np.argmin(drawn(40, 2, 0).sum(axis=0)))
    assert drawn(40, 2, 0)[:, left_out - 1].sum() == 0
    box = [10, 10, 50, 50]
    dataset = data(truth(left_out, 3, box), images=range(1, 41))
    return matches_of(dataset, [result(left_out, 3, box, 0.5)])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: average_precision(m, np.ones((1, 3))), r"\(1, 3\) is not \(resamples, 12\)"),
        (lambda m: average_precision(m, -np.ones((1, 12))), "negative"),
        (lambda m: average_precision(m, np.full((1, 12), np.nan)), "not finite"),
        (lambda m: drawn(12, 1, 0), "resamples=1"),
        (lambda m: drawn(12, 2, -1), "seed=-1: choose 0 or more"),
        (lambda m: interval_of(np.array([0.5])), "resamples: 1 have a true box"),
        (
            lambda m: compare_matches(*2 * [without_draws()], resamples=2),
            "resamples: 0 have a true",
        ),
        (lambda m: compare_matches(m, m, resamples=9).images_needed(0), "width=0"),
        (lambda m: compare_matches(m, matches_of(BOTH, HALF)), "different data sets"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(BadInput, match=words):
        call(matches_of(*random_case(1)))


def test_a_data_set_without_true_boxes_has_nothing_to_compare():
    with pytest.raises(BadInput, match="no true boxes"):
        compare(data(), [], [])
