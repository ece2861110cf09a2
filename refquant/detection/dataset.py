"""A data set: a folder of images and the annotations that belong to it, in COCO's layout.

    find_dataset(folder, split)        folder/annotations/instances_<split>.json, folder/<split>/;
                                       "demo" is the one that ships with refquant
    read_dataset(images, annotations)  any folder of images, any such file

Only images that the annotations list count, and all of them must be there. What the file may
hold is said in coco_json.py.

A model numbers its classes 0, 1, 2, ...; a data set numbers its categories as it likes (COCO: 80
of 1 ... 90). `match_classes` finds which is which:
    by name    if every category is the name of a class, and neither two classes nor two categories
               have one name. Classes without a category get None.
    by order   otherwise, if there are as many classes as categories and no name that both know
               stands at two different places: class k is the k-th category by ascending id.
Names are compared without case. Anything else is refused, since every figure would be wrong. What
was matched by order under two names (`matched_by_order`) is worth a look: it is a guess.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from refquant.arrays.errors import BadInput
from refquant.detection.coco_json import Category, Picture, Truth, read_annotations
from refquant.formats.official import weights_folder


@dataclass(frozen=True)
class DataSet:
    """Images, whose files lie in `folder`, their true boxes, and the categories of these.

    Images and categories by ascending id; boxes in the order of the file, which decides ties.
    """

    name: str
    folder: Path
    images: tuple[Picture, ...]
    truths: tuple[Truth, ...]
    categories: tuple[Category, ...]

    def only(self, ids: Collection[int]) -> "DataSet":
        """The same data set with the images of these ids alone."""
        return replace(
            self,
            images=tuple(image for image in self.images if image.id in ids),
            truths=tuple(truth for truth in self.truths if truth.image_id in ids),
        )


def find_dataset(folder: str | os.PathLike[str], split: str | None = None) -> DataSet:
    """The data set in a folder of COCO's layout; `split` may be left out if there is only one.

    "demo" is the embedded one, unless there is a folder of that name.
    """
    folder = Path(folder)
    if folder == Path("demo") and not folder.is_dir():
        folder = weights_folder() / "demo"
    if not folder.is_dir():
        raise BadInput(folder, "is not a folder", "give one in COCO's layout")
    files = sorted((folder / "annotations").glob("instances_*.json"))
    splits = [path.stem.removeprefix("instances_") for path in files]
    if not splits:
        raise BadInput(folder, "has no annotations/instances_<split>.json")
    choices = f"choose with --split {' | '.join(splits)}"
    if split is None and len(splits) > 1:
        raise BadInput(folder, f"has {len(splits)} splits", choices)
    split = splits[0] if split is None else split
    if split not in splits:
        raise BadInput(folder, f"has no split {split!r}", choices)
    return read_dataset(folder / split, files[splits.index(split)])


def read_dataset(images: str | os.PathLike[str], annotations: str | os.PathLike[str]) -> DataSet:
    """The data set of a folder of images and a file of annotations."""
    folder, file = Path(images), Path(annotations)
    if not folder.is_dir():
        raise BadInput(folder, "is not a folder", "give the folder of the images")
    known = read_annotations(file)
    missing = [
        image.file_name for image in known.images if not (folder / image.file_name).is_file()
    ]
    if missing:
        first = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise BadInput(folder, f"{len(missing)} of {len(known.images)} images missing: {first}")
    return DataSet(file.stem, folder, known.images, known.truths, known.categories)


def match_classes(class_names: Sequence[str], dataset: DataSet) -> tuple[int | None, ...]:
    """The category id of every class, by the rules of the file's docstring."""
    classes = [name.casefold() for name in class_names]
    categories = [category.name.casefold() for category in dataset.categories]
    ids = {name: dataset.categories[i].id for i, name in enumerate(categories)}
    distinct = len(set(classes)) == len(classes) and len(ids) == len(categories)
    if distinct and set(ids) <= set(classes):
        return tuple(ids.get(name) for name in classes)
    places = zip(classes, categories, strict=False)
    same_order = all(a == b or (a not in ids and b not in classes) for a, b in places)
    if len(classes) == len(categories) and same_order:
        return tuple(category.id for category in dataset.categories)
    strange = [name for name in ids if name not in classes]
    named = ", ".join(strange[:3]) if strange else "but some names differ in case only"
    raise BadInput(
        dataset.name,
        f"{len(categories)} categories, {len(strange)} of them unknown to the model of "
        f"{len(classes)} classes ({named})",
        "use a model of the same classes",
    )


def matched_by_order(class_names: Sequence[str], dataset: DataSet) -> list[tuple[str, str]]:
    """(class, category) of every match that `match_classes` made between different names."""
    names = {category.id: category.name for category in dataset.categories}
    pairs = zip(class_names, match_classes(class_names, dataset), strict=True)
    matched = [(name, names[number]) for name, number in pairs if number is not None]
    return [(name, other) for name, other in matched if name.casefold() != other.casefold()]
