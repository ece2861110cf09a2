"""Average precision: worked examples, pycocotools itself as the peer, and a model end to end."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detected import data, random_case, result, truth
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from white_cells import NAMES, scene, white_cells

from refquant.arrays.errors import BadInput
from refquant.detection.coco_json import Picture
from refquant.detection.dataset import find_dataset
from refquant.detection.evaluate import evaluate
from refquant.detection.predict import YOLOV7, Detections
from refquant.detection.results_json import in_order, results_of
from refquant.detection.score import NUMBERS, score
from refquant.detection.tasks import check_size, jobs_of

ONE = data(truth(1, 3, [10, 10, 100, 100]))
PERFECT = pytest.approx(1, abs=1e-15)  # pycocotools adds 2**-52 to a denominator


def directly(dataset, results, folder):
    """The twelve numbers as pycocotools gives them from files."""
    content = {
        "images": [{"id": image.id} for image in dataset.images],
        "categories": [category._asdict() for category in dataset.categories],
        "annotations": [t._asdict() | {"id": i + 1} for i, t in enumerate(dataset.truths)],
    }
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(results))
    with redirect_stdout(io.StringIO()):
        true = COCO(str(folder / "truth.json"))
        judge = COCOeval(true, true.loadRes(str(folder / "results.json")), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats.tolist()


def numbers(stats):
    return [getattr(stats, name) for name in NUMBERS]


def test_a_perfect_box_has_ap_1():
    stats = score(ONE, [result(1, 3, [10, 10, 100, 100])])
    assert (stats.AP, stats.AP50, stats.AP75, stats.AR1, stats.AR100) == (PERFECT,) * 5
    assert (stats.APs, stats.APm, stats.APl) == (None, None, PERFECT)  # its area is above 96**2
    assert (stats.images, dict(stats.per_class)) == (2, {"cat": PERFECT, "dog": None})


def test_an_iou_of_082_passes_seven_of_ten_thresholds():
    stats = score(ONE, [result(1, 3, [10, 10, 100, 82])])
    assert (pytest.approx(0.7), PERFECT, PERFECT) == (stats.AP, stats.AP50, stats.AP75)


def test_a_better_scored_wrong_box_halves_the_precision():
    wrong = result(1, 3, [300, 300, 10, 10], 0.9)
    assert pytest.approx(0.5) == score(ONE, [wrong, result(1, 3, [10, 10, 100, 100])]).AP


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [result(1, 8, [10, 10, 100, 100])],
        [result(2, 3, [10, 10, 100, 100])],
        [result(1, 3, [110, 10, 100, 100])],
        [result(1, 3, [0, 0, 0, 0])],
    ],
)
def test_nothing_another_class_another_image_another_place_have_ap_0(wrong):
    stats = score(ONE, wrong)
    assert (stats.AP, stats.AR100, stats.per_class["cat"]) == (0, 0, 0)


def test_no_true_boxes_give_none_which_is_valid_json():
    stats = score(data(), [result(1, 3, [0, 0, 5, 5])])
    assert numbers(stats) == [None] * 12
    assert json.loads(json.dumps(stats.to_json(), allow_nan=False))["AP"] is None


def test_the_first_true_box_counts_like_the_others():
    # pycocotools takes the number 0 for "no box", as some data sets number from 0.
    both = data(truth(1, 3, [10, 10, 50, 50]), truth(2, 3, [10, 10, 50, 50]))
    stats = score(both, [result(1, 3, [10, 10, 50, 50]), result(2, 3, [10, 10, 50, 50])])
    assert stats.AP == PERFECT


@pytest.mark.parametrize("seed", range(5))
def test_the_twelve_numbers_are_those_of_pycocotools_itself(seed, tmp_path):
    dataset, results = random_case(seed)
    ours = [-1 if value is None else value for value in numbers(score(dataset, results))]
    assert ours == directly(dataset, in_order(results), tmp_path)
    assert 0 < ours[0] < 1
    assert ours != directly(dataset, in_order(results[::2]), tmp_path)


def test_the_mean_over_categories_is_ap():
    stats = score(*random_case(9))
    assert np.mean(list(stats.per_class.values())) == pytest.approx(stats.AP)


@pytest.mark.parametrize("seed", range(10, 15))
def test_the_order_of_images_and_of_equal_scores_changes_nothing(seed):
    dataset, results = random_case(seed)
    rng = np.random.default_rng(seed)
    shuffled = [results[i] for i in rng.permutation(len(results))]
    images = tuple(dataset.images[i] for i in rng.permutation(len(dataset.images)))
    assert score(replace(dataset, images=images), shuffled) == score(dataset, results)


def test_the_order_of_equal_scores_would_change_pycocotools_itself(tmp_path):
    right, wrong = result(1, 3, [10, 10, 100, 100]), result(1, 3, [300, 300, 9, 9])
    first = directly(ONE, [right, wrong], tmp_path)
    assert first != directly(ONE, [wrong, right], tmp_path)
    assert score(ONE, [right, wrong]) == score(ONE, [wrong, right])


def test_results_are_rounded_and_numbered_as_coco_wants_them():
    found = Detections(
        np.array([[1.23456, 2, 11.23456, 22.5], [0, 0, 1, 1]], np.float32),
        np.array([0.1234567, 0.5], np.float32),
        np.array([1, 0]),
    )
    results = results_of(Picture(42, "a", None, None), found, (None, 90))
    assert results == [result(42, 90, [1.235, 2.0, 10.0, 20.5], 0.12346)]
    assert json.loads(json.dumps(results)) == results


CELLS = {5: [(0, 0), (1, 2)], 2: [(1, 1)], 9: []}


@pytest.fixture
def folder(tmp_path):
    """A data set of white cells in COCO's layout, as white_cells.py finds them."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").mkdir()
    content = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": 4, "name": NAMES[0]}, {"id": 6, "name": NAMES[1]}]
    for key, cells in CELLS.items():
        Image.fromarray(scene(64, 96, *cells)).save(tmp_path / "val" / f"{key}.png")
        content["images"].append({"id": key, "file_name": f"{key}.png", "width": 96, "height": 64})
        for row, column in cells:
            box = {"image_id": key, "category_id": 4, "bbox": [32 * column, 32 * row, 32, 32]}
            content["annotations"].append(box | {"id": len(content["annotations"])})
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return tmp_path


# The protocol's square would put bars of 16 rows above 64 and move the cells off the grid.
PROTOCOL = {"protocol": "detect", "size": 96}


def test_a_model_that_finds_every_cell_has_ap_1(folder):
    stats = evaluate(white_cells(), find_dataset(folder), conf=0.25, **PROTOCOL)
    assert (stats.AP, stats.per_class, stats.images) == (
        PERFECT,
        {"plain": PERFECT, "red": None},
        3,
    )
    assert [r["image_id"] for r in stats.results] == [2, 5, 5]
    assert stats.results[0]["bbox"] == [32, 32, 32, 32]


def test_the_square_protocol_counts_every_label(folder):
    stats = evaluate(white_cells(), find_dataset(folder), size=96, max_detections=1)
    assert len(stats.results) <= 3
    assert stats.AP < 1
    every = evaluate(white_cells(), find_dataset(folder), size=96)
    assert {r["category_id"] for r in every.results} == {4, 6}


def test_moved_boxes_have_less_ap(folder):
    path = folder / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    for record in content["annotations"]:
        record["bbox"][0] += 4  # IoU 28 / 36 = 0.78: six of ten thresholds
    path.write_text(json.dumps(content))
    stats = evaluate(white_cells(), find_dataset(folder), conf=0.25, **PROTOCOL)
    assert pytest.approx(0.6) == stats.AP


def test_threads_of_an_executor_change_nothing(folder):
    alone = evaluate(white_cells(), find_dataset(folder), **PROTOCOL)
    with ThreadPoolExecutor(3) as executor:
        assert (
            evaluate(white_cells(), find_dataset(folder), executor=executor, **PROTOCOL) == alone
        )


def test_progress_is_told_after_every_image(folder):
    calls = []
    evaluate(
        white_cells(), find_dataset(folder), progress=lambda *pair: calls.append(pair), **PROTOCOL
    )
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]


def damage(folder):
    """One image of another size than annotated, one that is none."""
    Image.fromarray(scene(96, 64)).save(folder / "val" / "5.png")
    (folder / "val" / "9.png").write_bytes(b"no image")


def test_a_side_that_is_not_annotated_is_told_as_such(folder):
    picture = Picture(1, "a.png", None, 480)
    with pytest.raises(BadInput, match=r"is 64x96, the annotations say \?x480"):
        check_size(Path("a.png"), (96, 64), picture)
    check_size(Path("a.png"), (480, 64), picture)


def test_images_that_cannot_be_read_are_reported_and_the_others_kept(folder):
    damage(folder)
    stats = evaluate(white_cells(), find_dataset(folder), conf=0.25, **PROTOCOL)
    assert [failure["image"] for failure in stats.failed] == ["5.png", "9.png"]
    assert "5.png: is 64x96, the annotations say 96x64" in stats.failed[0]["error"]
    assert "is not an image" in stats.failed[1]["error"]
    assert [r["image_id"] for r in stats.results] == [2]
    assert stats.to_json()["failed"] == list(stats.failed)


def test_true_boxes_of_an_unreadable_image_count_as_missed(folder):
    damage(folder)
    stats = evaluate(white_cells(), find_dataset(folder), conf=0.25, **PROTOCOL)
    assert (stats.images, stats.AR100) == (3, pytest.approx(1 / 3))  # one of three boxes


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_the_public_test_geometry_gives_each_image_its_batchs_input(folder, batch):
    wide = scene(64, 128, (0, 0))
    Image.fromarray(wide).save(folder / "val" / "9.png")
    path = folder / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    for record in content["images"]:
        if record["id"] == 9:
            record["width"] = 128
        elif record["id"] == 5:
            del record["width"]  # then the file's header is asked
    path.write_text(json.dumps(content))
    dataset = find_dataset(folder)
    jobs = jobs_of(dataset, replace(YOLOV7, size=128, batch=batch), 32)
    # ratios 1/2, 2/3, 2/3: alone 64 + 16 -> 96 and 85.3 + 16 -> 128 rows
    nets = {job.image.id: job.net for job in jobs}
    expected = {1: (96, 128, 128), 2: (128, 128, 128), 3: (128, 128, 128)}[batch]
    assert nets == {key: (h, 160) for key, h in zip((9, 2, 5), expected, strict=True)}


def test_an_image_is_run_in_its_batchs_input(folder):
    # 64 x 96 at size 96 has bars of 16 above and left when alone, of 32 and 16 beside a square.
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[0:32, 16:48] = 255
    Image.fromarray(pixels).save(folder / "val" / "2.png")
    dataset = find_dataset(folder)
    tall = tuple(i._replace(width=None, height=None) for i in dataset.images)
    Image.fromarray(scene(96, 96)).save(folder / "val" / "9.png")
    options = {"protocol": "yolov7", "size": 96, "conf": 0.5}
    alone = evaluate(white_cells(), replace(dataset, images=tall), batch=1, **options)
    beside = evaluate(white_cells(), replace(dataset, images=tall), batch=3, **options)
    assert [r for r in alone.results if r["image_id"] == 2] == []
    assert [r["bbox"] for r in beside.results if r["image_id"] == 2] == [[16, 0, 32, 32]]


def test_the_public_protocol_runs_from_end_to_end(folder):
    stats = evaluate(white_cells(), find_dataset(folder), protocol="yolov7", size=96, conf=0.25)
    assert stats.images == 3
    assert stats == evaluate(
        white_cells(), find_dataset(folder), protocol="yolov7", size=96, conf=0.25, batch=32
    )


def test_batches_belong_to_the_protocol_that_has_them(folder):
    with pytest.raises(BadInput, match="batch=4"):
        evaluate(white_cells(), find_dataset(folder), protocol="square", batch=4)


@pytest.mark.parametrize("options", [{"threads": 0}, {"arithmetic": "exact"}])
def test_options_that_would_fail_every_image_are_refused_at_once(folder, options):
    with pytest.raises(BadInput, match="choose"):
        evaluate(white_cells(), find_dataset(folder), **options)


def test_nothing_is_printed(folder, capsys):
    evaluate(white_cells(), find_dataset(folder), **PROTOCOL)
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_a_real_model_has_a_plausible_ap_on_real_images(real):
    checkpoint = pytest.importorskip("refquant.formats.torch.checkpoint")
    from refquant.detection.dataset import read_dataset

    model = checkpoint.read(real / "weights" / "yolov5n_v6.0.pt")
    annotations = real / "coco" / "instances_val2017_official_subset.json"
    dataset = read_dataset(real / "coco" / "val2017", annotations)
    few = dataset.only({image.id for image in dataset.images[:8]})
    stats = evaluate(model, few, threads=2)
    assert 0.2 < stats.AP < stats.AP50 < 1
