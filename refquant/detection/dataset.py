"""A data set: a folder of images and the annotations that belong to it, in COCO's layout.

    find_dataset(folder, split)        folder/annotations/instances_<split>.json, folder/<split>/;
                                       "demo" is the one that ships with refquant
    read_dataset(images, annotations)  any folder of images, any such file

Only the images that the annotations list count, and all of them must be there. coco_json.py says
what the file may hold.

A model numbers its classes 0, 1, 2, ...; a data set numbers its categories as it likes (COCO takes
80 of the numbers 1 ... 90). `match_classes` finds which is which:
    by name    if every category has the name of a class, and neither two classes nor two
               categories have the same name. Classes without a category get None.
    by order   otherwise, if there are as many classes as categories and no name that both know
               stands at two different places: class k is the k-th category by ascending id.
Upper and lower case are not told apart. Anything else is refused, since every figure would be
wrong. What was matched by order under two names (`matched_by_order`) is a guess and worth a look.
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
    """Images, their true boxes, and the categories of these.

    Parameters
    ----------
    name : str
        The name of the file of annotations, without its suffix.
    folder : Path
        The folder in which the files of the images lie.
    images : tuple of Picture
        The images, by ascending id.
    truths : tuple of Truth
        The true boxes in the order of the file, which decides ties.
    categories : tuple of Category
        The categories, by ascending id.

    Examples
    --------
    >>> import refquant
    >>> data = refquant.find_dataset("demo")
    >>> few = data.only({1, 2})
    >>> len(data.images), len(few.images), few.categories == data.categories
    (360, 2, True)
    """

    name: str
    folder: Path
    images: tuple[Picture, ...]
    truths: tuple[Truth, ...]
    categories: tuple[Category, ...]

    def only(self, ids: Collection[int]) -> "DataSet":
        """Return the same data set with the images of these ids alone, and their true boxes."""
        return replace(
            self,
            images=tuple(image for image in self.images if image.id in ids),
            truths=tuple(truth for truth in self.truths if truth.image_id in ids),
        )


def find_dataset(folder: str | os.PathLike[str], split: str | None = None) -> DataSet:
    """Find the data set in a folder of COCO's layout.

    The annotations are `folder/annotations/instances_<split>.json`, the images lie in
    `folder/<split>/`. Every value of the annotations is checked.

    Parameters
    ----------
    folder : str or path-like
        The folder; "demo" is the embedded data set, unless there is a folder of that name.
    split : str, optional
        The split, such as "val2017". It may be left out if the folder has only one.

    Returns
    -------
    DataSet
        The images, their true boxes and their categories.

    Raises
    ------
    BadInput
        If the folder or the split is not there, if several splits leave a choice, if an image is
        missing, or if the annotations break a rule of their format.

    References
    ----------
    .. [1] Lin et al., "Microsoft COCO: Common Objects in Context", 2014, arXiv:1405.0312.

    Examples
    --------
    >>> import refquant
    >>> data = refquant.find_dataset("demo")
    >>> data.name, len(data.images), len(data.truths), len(data.categories)
    ('instances_val', 360, 2006, 8)
    >>> data.images[0]
    Picture(id=1, file_name='00000.png', width=160, height=160)
    >>> data.truths[0]
    Truth(image_id=1, category_id=7, bbox=(118.0, 44.0, 42.0, 35.0), area=1470.0, iscrowd=0)
    >>> data.categories[6]
    Category(id=7, name='crescent')
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
    """Read the data set of any folder of images and any file of annotations.

    Only the images that the annotations list count, and all of them must be there.

    Parameters
    ----------
    images : str or path-like
        The folder of the images.
    annotations : str or path-like
        The file of annotations, JSON in COCO's layout.

    Returns
    -------
    DataSet
        The images, their true boxes and their categories.

    Raises
    ------
    BadInput
        If the folder is not there, if an image is missing, or if the annotations break a rule of
        their format.

    Examples
    --------
    >>> import refquant
    >>> demo = refquant.find_dataset("demo")
    >>> annotations = demo.folder.parent / "annotations" / "instances_val.json"
    >>> refquant.read_dataset(demo.folder, annotations) == demo
    True
    """
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
    """The category id of every class, by the rules at the top of this file."""
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
    """The pairs (class, category) that `match_classes` matched under different names."""
    names = {category.id: category.name for category in dataset.categories}
    pairs = zip(class_names, match_classes(class_names, dataset), strict=True)
    matched = [(name, names[number]) for name, number in pairs if number is not None]
    return [(name, other) for name, other in matched if name.casefold() != other.casefold()]
