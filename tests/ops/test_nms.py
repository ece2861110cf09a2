"""Candidates and NMS: worked examples, `nms_fast` against `nms_ref`, and the awkward inputs."""

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.ops.nms import Candidates, candidates, grouped, nms, nms_fast, nms_ref, overlap


def predictions(*rows):
    return np.array(rows, np.float32)


def found(boxes, scores, classes=None):
    classes = np.zeros(len(boxes)) if classes is None else classes
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Candidates(boxes, np.array(scores, np.float32), np.array(classes, np.int64))


def crowd(seed, count, classes, levels=None):
    """Random boxes in a few clusters, so that many overlap; `levels` makes scores collide."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 640, (12, 2))[rng.integers(0, 12, count)] + rng.normal(
        0, 9, (count, 2)
    )
    half = rng.uniform(5, 60, (count, 2))
    scores = rng.uniform(0, 1, count)
    if levels:
        scores = np.round(scores * levels) / levels
    boxes = np.concatenate((centre - half, centre + half), axis=1)
    return found(boxes, scores, rng.integers(0, classes, count))


def test_candidates_of_a_worked_example():
    rows = predictions(
        [10, 20, 4, 8, 0.5, 0.25, 0.75],  # scores 0.125, 0.375
        [50, 60, 2, 2, 1.0, 0.5, 0.5],  # a tie: class 0 is the first best
        [50, 60, 2, 2, 0.25, 1.0, 1.0],  # objectness 0.25 is not above 0.25
    )
    best = candidates(rows, conf=0.25, multi_label=False)
    assert best.boxes.tolist() == [[8, 16, 12, 24], [49, 59, 51, 61]]
    assert (best.scores.tolist(), best.classes.tolist()) == ([0.375, 0.5], [1, 0])
    every = candidates(rows, conf=0.25, multi_label=True)
    assert (every.scores.tolist(), every.classes.tolist()) == ([0.375, 0.5, 0.5], [1, 0, 1])


def test_nms_of_a_worked_example():
    # IoU of the first two: 50 / (100 + 100 - 50) = 1/3; the third touches nothing.
    boxes = [[0, 0, 10, 10], [0, 5, 10, 15], [20, 0, 30, 10]]
    near = found(boxes, [0.5, 0.75, 0.25])
    assert nms(near, iou=0.3).scores.tolist() == [0.75, 0.25]
    assert nms(near, iou=0.4).scores.tolist() == [0.75, 0.5, 0.25]
    assert nms(near, iou=0.3).boxes.tolist() == [boxes[1], boxes[2]]


def test_the_threshold_itself_does_not_suppress():
    halves = found([[0, 0, 2, 1], [0, 0, 1, 1]], [0.9, 0.8])  # IoU exactly 0.5
    assert len(nms(halves, iou=0.5).scores) == 2
    assert len(nms(halves, iou=np.nextafter(0.5, 0)).scores) == 1


def test_an_overlap_rounded_up_beyond_the_threshold_suppresses():
    pair = found([[0, 0, 5, 1], [0, 0, 3, 1]], [0.9, 0.8])  # float32(3 / 5) = 0.6 + 2.4e-8
    assert len(nms(pair, iou=0.6).scores) == 1
    assert len(nms(pair, iou=float(np.float32(0.6))).scores) == 2


def test_one_class_scores_by_objectness_alone():
    rows = predictions([10, 10, 4, 4, 0.5, 0.1])
    for multi_label in (False, True):
        assert candidates(rows, conf=0.25, multi_label=multi_label).scores.tolist() == [0.5]


def test_objectness_alone_must_pass_before_the_product():
    rows = predictions([10, 10, 4, 4, 0.001, 2.0, 2.0])  # float32(0.001) is not above itself
    assert len(candidates(rows, conf=0.001, multi_label=True).scores) == 0


def test_only_the_best_thirty_thousand_stay_and_keep_their_order():
    rng = np.random.default_rng(1)
    rows = np.column_stack(
        [rng.uniform(1, 9, (40, 4)), np.ones(40), np.round(rng.random((40, 3)), 1)]
    )
    every = candidates(rows, conf=0.1, multi_label=True)
    few = candidates(rows, conf=0.1, multi_label=True, most=25)
    assert len(every.scores) > 60
    order = sorted(range(len(every.scores)), key=lambda i: (-every.scores[i], i))
    chosen = sorted(order[:25])
    assert np.array_equal(few.scores, every.scores[chosen])
    assert np.array_equal(few.classes, every.classes[chosen])


def test_a_row_with_nan_or_an_endless_box_is_no_candidate():
    good = [10, 10, 4, 4, 0.5, 0.9, 0.2]
    rows = np.repeat(predictions(good), 8, axis=0)
    for column, value in enumerate((np.nan, np.inf, np.inf, np.nan, np.nan, np.nan, np.nan)):
        rows[column, column] = value
    best = candidates(rows, conf=0.25, multi_label=False)
    assert len(best.scores) == 1
    assert np.isfinite(best.boxes).all()


def test_no_predictions_give_no_detections():
    empty = candidates(np.empty((0, 85), np.float32), conf=0.25, multi_label=True)
    assert nms(empty, iou=0.45).boxes.shape == (0, 4)
    assert nms(empty, iou=0.45, mode="compat").scores.shape == (0,)


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize(("seed", "classes", "levels"), [(2, 1, None), (3, 4, None), (4, 3, 10)])
@pytest.mark.parametrize(("iou", "most"), [(0.45, 300), (0.65, 300), (0.0, 300), (0.65, 20)])
def test_fast_equals_ref(seed, classes, levels, iou, most, mode):
    many = crowd(seed, 150, classes, levels)
    boxes, groups = grouped(many, mode)
    ref = nms_ref(boxes, many.scores, groups, iou, most)
    fast = nms_fast(boxes, many.scores, groups, iou, most)
    assert fast.tolist() == ref.tolist()
    assert 0 < len(ref) < 150


def test_no_two_kept_boxes_of_a_class_overlap_and_every_other_box_has_a_reason():
    many = crowd(5, 400, 3)
    kept = nms_fast(many.boxes, many.scores, many.classes, 0.5, 400)
    for i in range(400):
        rivals = [j for j in kept if many.classes[j] == many.classes[i] and j != i]
        better = [j for j in rivals if many.scores[j] >= many.scores[i]]
        suppressed = any(overlap(many.boxes[j], many.boxes[[i]])[0] > 0.5 for j in better)
        assert suppressed == (i not in kept)


def test_ties_go_to_the_lower_index_whatever_the_memory_order():
    boxes = np.array([[0, 0, 10, 10]] * 50, np.float32)
    scores = np.full(50, 0.5, np.float32)
    groups = np.zeros(50, np.int64)
    for layout in (boxes, np.asfortranarray(boxes), np.repeat(boxes, 2, axis=0)[::2]):
        assert nms_fast(layout, scores, groups, 0.5, 300).tolist() == [0]


def test_detections_come_best_first_and_at_most_so_many():
    many = crowd(6, 300, 5)
    scores = nms(many, iou=0.9, most=40).scores
    assert len(scores) == 40
    assert (np.diff(scores) <= 0).all()


def test_boxes_without_area_suppress_nothing():
    points = found([[5, 5, 5, 5]] * 3, [0.9, 0.8, 0.7])
    assert np.isnan(overlap(points.boxes[0], points.boxes)).all()
    assert len(nms(points, iou=0.0).scores) == 3


def test_boxes_too_large_for_float32_are_survived():
    huge = found([[-3e38, -3e38, 3e38, 3e38]] * 2 + [[0, 0, 1, 1]], [0.9, 0.8, 0.7])
    boxes, groups = grouped(huge, "exact")
    ref = nms_ref(boxes, huge.scores, groups, 0.5, 300)
    assert nms_fast(boxes, huge.scores, groups, 0.5, 300).tolist() == ref.tolist()


def test_exact_never_compares_classes_and_compat_does_where_boxes_are_4096_apart():
    pair = found([[4096, 4096, 4196, 4196], [0, 0, 100, 100]], [0.9, 0.8], [0, 1])
    assert len(nms(pair, iou=0.5, mode="exact").scores) == 2
    assert len(nms(pair, iou=0.5, mode="compat").scores) == 1


def test_compat_rounds_the_corners_that_it_compares():
    # Class 79 adds 323584, where float32 numbers lie 1/32 apart: 3/8 + 0.01 becomes 3/8.
    pair = found([[0, 0, 1, 0.375], [0, 0, 1, 0.75 + 0.01]], [0.9, 0.8], [79, 79])
    exact = overlap(pair.boxes[0], pair.boxes[1:])[0]  # 0.375 / 0.76
    assert exact == pytest.approx(0.375 / 0.76)
    assert grouped(pair, "compat")[0][1].tolist() == [323584, 323584, 323585, 323584.75]
    assert len(nms(pair, iou=0.495, mode="exact").scores) == 2
    assert len(nms(pair, iou=0.495, mode="compat").scores) == 1


def test_thirty_thousand_candidates_are_decided():
    many = crowd(7, 30_000, 80)
    assert len(nms(many, iou=0.65).scores) == 300


def test_arguments_are_left_as_they_were():
    many = crowd(8, 50, 3)
    before = [array.copy() for array in many]
    nms(many, iou=0.5, mode="compat")
    assert all(np.array_equal(a, b) for a, b in zip(many, before, strict=True))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: candidates(np.zeros((3, 5)), conf=0.5, multi_label=False), r"\(3, 5\)"),
        (lambda: candidates(np.zeros((3, 6)), conf=1.5, multi_label=False), r"conf=1\.5"),
        (lambda: candidates(np.zeros((3, 6)), conf=float("nan"), multi_label=False), "conf=nan"),
        (lambda: nms(found([], []), iou=-0.1), r"iou=-0\.1"),
        (lambda: nms(found([], []), iou=0.5, mode="fast"), r"choose exact \| compat"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(BadInput, match=words):
        call()
