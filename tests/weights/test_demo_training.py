"""The demo's trainer: its loss by hand, its assignment, and a run cut off that ends the same."""

import argparse
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from refquant.graph.architecture import ARCHITECTURES  # noqa: E402
from weights import demo_batches, demo_loss, train_demo  # noqa: E402
from weights.scene_files import render  # noqa: E402
from weights.torch_net import network  # noqa: E402

ANCHORS = torch.tensor([[[16.0, 16.0]], [[32.0, 32.0]], [[64.0, 64.0]]])
STRIDES = (8, 16, 32)


def test_iou_and_ciou_of_a_worked_example():
    a = torch.tensor([[5.0, 5.0, 10.0, 10.0]])
    b = torch.tensor([[10.0, 5.0, 10.0, 20.0]])
    iou, ciou = demo_loss.ious(a, b)
    # inter 5 * 10, union 100 + 200 - 50; around both: 15 x 20, centres 5 apart
    assert iou.item() == pytest.approx(50 / 250)
    aspect = 4 / math.pi**2 * (math.atan(1) - math.atan(0.5)) ** 2
    expected = 0.2 - 25 / 625 - aspect * aspect / (0.8 + aspect)
    assert ciou.item() == pytest.approx(expected, abs=1e-6)


def test_the_cells_that_reach_a_centre():
    cells = demo_loss.reachable(torch.tensor([[3.25, 5.5]]))
    assert cells.tolist() == [[[3, 5], [2, 5], [3, 6]]]


def test_ranks_within_groups_ties_by_order():
    group = torch.tensor([1, 0, 1, 1, 0])
    value = torch.tensor([2.0, 5.0, 2.0, 1.0, 4.0])
    assert demo_loss.rank(group, value).tolist() == [1, 1, 2, 0, 0]


def maps(value=0.0):
    return [torch.full((2, 1 * 7, 64 // s, 64 // s), value) for s in STRIDES]


def test_a_candidate_decodes_to_a_box_that_its_cell_can_reach():
    truth = demo_loss.Truth(
        torch.tensor([[20.0, 20.0, 16.0, 16.0]]), torch.tensor([1]), torch.tensor([1])
    )
    rows = [demo_loss.level_rows(level, 1) for level in maps()]
    found = demo_loss.candidates(rows, truth, ANCHORS, STRIDES)
    # level 0: ratio 1; level 1: ratio 2; level 2: ratio 4 is too much. 3 cells each
    assert len(found.box) == 6
    assert found.predicted[0].tolist() == [20.0, 20.0, 16.0, 16.0]  # cell 2, centre (2 + 0.5) * 8
    assert found.place[0].item() == 64 + 2 * 8 + 2  # the second image, row 2, column 2


def test_a_prediction_answers_for_one_box_only():
    box = torch.tensor([[20.0, 20.0, 16.0, 16.0]] * 2)
    truth = demo_loss.Truth(box, torch.tensor([0, 1]), torch.tensor([0, 0]))
    rows = [demo_loss.level_rows(level, 1) for level in maps()]
    found = demo_loss.candidates(rows, truth, ANCHORS, STRIDES)
    chosen = demo_loss.assign(found, truth)
    places = found.place[chosen].tolist()
    assert len(places) == len(set(places)) >= 1


def test_a_batch_without_boxes_has_a_loss():
    nothing = demo_loss.Truth(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0).long())
    box, objectness, classes = demo_loss.losses(maps(), nothing, ANCHORS, STRIDES)
    cells = 2 * (64 + 16 + 4)
    assert (box.item(), classes.item()) == (0.0, 0.0)
    assert objectness.item() == pytest.approx(cells * math.log(2), rel=1e-5)


def test_turning_an_image_turns_its_boxes():
    image = np.zeros((160, 160, 3), np.uint8)
    image[20:50, 30:90] = 255
    box = np.array([[30, 20, 90, 50]], np.float32)
    seen = set()
    for seed in range(40):
        turned, (found,) = demo_batches.turned(np.random.default_rng(seed), image, box)
        rows, columns = np.nonzero(turned[..., 0])
        tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert tuple(found) == tight
        seen.add(tight)
    assert len(seen) == 8


def test_the_learning_rate_rises_and_falls_once_per_round():
    rounds = (train_demo.Round(160, 16 * 700, 2.0), train_demo.Round(192, 16 * 500, 1.0))
    at = [train_demo.schedule(rounds, step) for step in range(1200)]
    assert [side for side, _ in at] == [160] * 700 + [192] * 500
    rates = np.array([rate for _, rate in at])
    assert rates[[299, 300, 500, 999, 1000]] == pytest.approx([2, 2, 1.01, 1, 1])
    assert (rates[699], rates[1199]) == pytest.approx((0.02, 0.01), rel=0.01)


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_in_the_same_weights(tmp_path, monkeypatch):
    render(tmp_path, 24, 1)
    monkeypatch.setattr(train_demo, "SAVE_EVERY", 2)
    monkeypatch.setattr(train_demo, "LOG_EVERY", 1)
    monkeypatch.setattr(train_demo, "BATCH", 4)
    monkeypatch.setattr(train_demo, "average_precision", lambda *_: [0.0, 0.0])
    small = ARCHITECTURES["yolov7"]
    monkeypatch.setattr(train_demo, "demo_architecture", lambda data: small)
    rounds = (train_demo.Round(160, 8, 1e-3), train_demo.Round(192, 8, 1e-3))
    weights = []
    for name in ("whole", "cut"):
        out = tmp_path / name
        out.mkdir()
        values = {"data": tmp_path, "out": out, "rounds": rounds, "seed": 3}
        args = argparse.Namespace(**values, validation=tmp_path)
        if name == "cut":
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(train_demo, "note", stop_at(3))
                train_demo.train(args)
        train_demo.train(args)
        weights.append(torch.load(out / "checkpoint.pt", weights_only=True))
    assert weights[0]["step"] == weights[1]["step"] == 4
    for part in ("net", "ema"):
        assert all(torch.equal(v, weights[1][part][k]) for k, v in weights[0][part].items())
    start = network(small, train_demo.WIDTH, 8, 3).state_dict()
    assert not torch.equal(start["model.0.conv.weight"], weights[0]["net"]["model.0.conv.weight"])


def stop_at(last):
    def note(out, step, values):
        if step == last:
            raise KeyboardInterrupt

    return note
