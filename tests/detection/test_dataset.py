"""Data sets: reading them, every kind of broken file, and which class is which category."""

import json

import numpy as np
import pytest
from PIL import Image

from refquant.arrays.errors import BadInput
from refquant.detection.dataset import (
    find_dataset,
    match_classes,
    matched_by_order,
    read_dataset,
)

GOOD = {
    "images": [
        {"id": 7, "file_name": "b.png", "width": 64, "height": 32},
        {"id": 3, "file_name": "sub/a.png"},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 90,
            "bbox": [1, 2, 3.5, 4],
            "area": 9,
            "iscrowd": 1,
        },
        {"id": 2, "image_id": 3, "category_id": 2, "bbox": [0, 0, 5, 6]},
    ],
    "categories": [{"id": 90, "name": "cup"}, {"id": 2, "name": "cat"}],
}


@pytest.fixture
def folder(tmp_path):
    """A data set in COCO's layout, split "val"."""
    for name in ("val/sub/a.png", "val/b.png", "val/not_listed.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(path)
    write(tmp_path, GOOD)
    return tmp_path


def write(folder, content, split="val"):
    path = folder / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def changed(kind, index, **values):
    """GOOD with other values in one record; ... takes a key away."""
    content = json.loads(json.dumps(GOOD))
    record = content[kind][index]
    record.update(values)
    content[kind][index] = {key: value for key, value in record.items() if value is not ...}
    return content


def refusal(folder, split=None):
    with pytest.raises(BadInput) as caught:
        find_dataset(folder, split)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


def test_a_small_data_set_word_by_word(folder):
    dataset = find_dataset(folder)
    assert (dataset.name, dataset.folder) == ("instances_val", folder / "val")
    assert dataset.images == ((3, "sub/a.png", None, None), (7, "b.png", 64, 32))
    assert dataset.categories == ((2, "cat"), (90, "cup"))
    assert dataset.truths == (
        (7, 90, (1.0, 2.0, 3.5, 4.0), 9.0, 1),
        (3, 2, (0.0, 0.0, 5.0, 6.0), 30.0, 0),
    )


def test_a_folder_of_images_and_a_file_serve_as_well(folder):
    file = folder / "annotations" / "instances_val.json"
    assert read_dataset(folder / "val", file) == find_dataset(folder, "val")


def test_one_of_several_splits_must_be_chosen(folder):
    write(folder, GOOD, "train")
    assert "choose with --split train | val" in refusal(folder)
    assert len(find_dataset(folder, "val").images) == 2
    assert "has no split 'test': choose with --split train | val" in refusal(folder, "test")


def test_only_some_images(folder):
    part = find_dataset(folder).only({3})
    assert [image.id for image in part.images] == [3]
    assert [truth.image_id for truth in part.truths] == [3]
    assert len(part.categories) == 2


def test_what_is_not_there_is_named(folder, tmp_path):
    assert "is not a folder" in refusal(tmp_path / "absent")
    assert "has no annotations/instances_<split>.json" in refusal(folder / "val")
    with pytest.raises(BadInput, match="No such file"):
        read_dataset(folder / "val", folder / "absent.json")
    with pytest.raises(BadInput, match="is not a folder: give the folder of the images"):
        read_dataset(folder / "test", folder / "annotations" / "instances_val.json")


def test_missing_images_are_counted_and_named(folder):
    (folder / "val" / "b.png").unlink()
    assert "1 of 2 images missing: b.png" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"images": [' + "9" * 5000 + "]}", "is not JSON"),
        ("\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "has no list 'images'"),
        ({**GOOD, "annotations": {}}, "has no list 'annotations'"),
        ({**GOOD, "images": [], "annotations": []}, "has 0 images"),
        ({**GOOD, "images": [5]}, "images[0]: 5 is not a JSON object"),
    ],
)
def test_files_of_another_kind_are_refused(folder, content, words):
    write(folder, content)
    assert words in refusal(folder)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("images", {"id": ...}, "images[1]: id=None"),
        ("images", {"id": 7}, "id=7 occurs twice"),
        ("images", {"id": "3"}, "id='3' is no whole number"),
        ("images", {"id": True}, "id=True is no whole number"),
        ("images", {"id": 10**100}, "is no whole number"),
        ("images", {"file_name": 5}, "file_name=5 is no name"),
        ("images", {"file_name": "a\nb.png"}, "is no name"),
        ("images", {"file_name": "a\0.png"}, "is no name"),
        ("images", {"file_name": "../val/b.png"}, "leaves the folder"),
        ("images", {"file_name": "sub\\..\\..\\b.png"}, "leaves the folder"),
        ("images", {"file_name": "/etc/passwd"}, "leaves the folder"),
        ("images", {"width": -1}, "width=-1"),
        ("annotations", {"id": 1}, "id=1 occurs twice"),
        ("annotations", {"image_id": 4}, "annotation 2: there is no image 4"),
        ("annotations", {"category_id": 1}, "annotation 2: there is no category 1"),
        ("annotations", {"bbox": ...}, "bbox=None is not [x, y, width, height]"),
        ("annotations", {"bbox": [1, 2, 3]}, "is not [x, y, width, height]"),
        ("annotations", {"bbox": [0, 0, "5", 6]}, "bbox='5' is no number"),
        ("annotations", {"bbox": [0, 0, NAN, 6]}, "bbox=nan is no number"),
        ("annotations", {"bbox": [-INF, 0, 5, 6]}, "bbox=-inf is no number"),
        ("annotations", {"bbox": [0, 10**400, 5, 6]}, "bbox=(huge) is no number"),
        ("annotations", {"bbox": [0, 0, -5, 6]}, "bbox=-5 is no number"),
        ("annotations", {"area": -1}, "area=-1 is no number"),
        ("annotations", {"iscrowd": 2}, "iscrowd=2"),
        ("categories", {"id": 90}, "id=90 occurs twice"),
        ("categories", {"name": "cup"}, "two categories are called 'cup'"),
        ("categories", {"name": " "}, "name=' ' is no name"),
    ],
)
def test_the_first_broken_record_is_named(folder, kind, values, words):
    write(folder, changed(kind, 1, **values))
    assert words in refusal(folder)


def test_a_box_without_area_and_one_outside_of_the_image_are_allowed(folder):
    write(folder, changed("annotations", 1, bbox=[-3, 900, 0, 6]))
    assert find_dataset(folder).truths[1].area == 0


def test_classes_are_matched_by_name_whatever_their_order(folder):
    dataset = find_dataset(folder)
    assert match_classes(("Cup", "dog", "cat"), dataset) == (90, None, 2)


def test_other_names_are_matched_by_order_if_the_counts_agree(folder):
    dataset = find_dataset(folder)
    assert match_classes(("class 0", "class 1"), dataset) == (2, 90)
    assert match_classes(("cat", "mug"), dataset) == (2, 90)


def test_categories_that_differ_in_case_only_are_matched_by_order_or_not_at_all(folder):
    write(folder, changed("categories", 1, name="Cup"))
    dataset = find_dataset(folder)
    assert match_classes(("CUP", "cup"), dataset) == (2, 90)
    with pytest.raises(BadInput, match=r"0 of them unknown .* some names differ in case only"):
        match_classes(("cup", "dog"), dataset)


def test_what_was_matched_by_order_under_two_names_can_be_told(folder):
    dataset = find_dataset(folder)
    assert matched_by_order(("Cat", "mug"), dataset) == [("mug", "cup")]
    assert matched_by_order(("Cup", "dog", "cat"), dataset) == []


@pytest.mark.parametrize("names", [("mug", "cat"), ("cat",), ("a", "b", "c"), ()])
def test_a_model_of_other_classes_is_refused(folder, names):
    with pytest.raises(BadInput, match="2 categories"):
        match_classes(names, find_dataset(folder))


def test_the_annotations_of_coco_are_read(real):
    coco = real / "coco"
    dataset = read_dataset(coco / "val2017", coco / "instances_val2017_official_subset.json")
    assert (len(dataset.images), len(dataset.categories)) == (188, 80)
    assert sum(truth.iscrowd for truth in dataset.truths) == 20
    names = [category.name for category in dataset.categories]
    ids = [*range(1, 12), *range(13, 26), 27, 28, *range(31, 45), *range(46, 66)]
    ids += [67, 70, *range(72, 83), *range(84, 91)]
    assert match_classes(names, dataset) == tuple(ids)
