"""Annotations in COCO's JSON, from strangers: three lists of objects, every value checked.

    images        id, file_name [, width, height]
    annotations   id, image_id, category_id, bbox [x, y, w, h] in pixels [, area, iscrowd]
    categories    id, name
What is not named here is not looked at. Where a value is missing, area is w * h, iscrowd is 0, and
width and height are None.

Ids are whole numbers from -2**53 to 2**53, unique in their list, and refer to what exists; numbers
are finite, and sizes are not negative; the names of categories differ; the names of files stay
inside the folder of images. The first breach raises BadInput with the file, the object and the
value.

Python's objects take 6 bytes per byte of COCO's own files, and up to 27 bytes per byte of a file
that is made for it ("[],[],..."); this was measured. Therefore a file of more than MOST_BYTES is
not even read.
"""

import json
import math
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from refquant.arrays.errors import BadInput

LARGEST = 2**53  # Beyond it a float64 does not tell whole numbers apart.
LARGEST_SIDE = 2**31 - 1  # pixels
MOST_BYTES = 2**29  # COCO's largest file, instances_train2017.json, has 0.45e9 bytes.
T = TypeVar("T")


class Picture(NamedTuple):
    """An image of a data set.

    Parameters
    ----------
    id : int
        Its number in the data set.
    file_name : str
        Its file, relative to the folder of the images.
    width, height : int or None
        Its size in pixels; None where the annotations do not say.
    """

    id: int
    file_name: str
    width: int | None
    height: int | None


class Truth(NamedTuple):
    """A true box, which a person has drawn around an object.

    Parameters
    ----------
    image_id, category_id : int
        The numbers of its image and of its category.
    bbox : tuple of four float
        The left edge, the top edge, the width and the height, in pixels.
    area : float
        The area of the object in square pixels, at most that of the box.
    iscrowd : int
        1 marks a group of objects that are not told apart, 0 a single one.
    """

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int


class Category(NamedTuple):
    """A kind of object.

    Parameters
    ----------
    id : int
        Its number in the data set.
    name : str
        Its name, such as "person".
    """

    id: int
    name: str


class Annotations(NamedTuple):
    """A whole file: images and categories by ascending id, true boxes in the file's order."""

    images: tuple[Picture, ...]
    truths: tuple[Truth, ...]
    categories: tuple[Category, ...]


class JsonObject(NamedTuple):
    """One JSON object and where it stands; a method gives a value of the right kind or raises."""

    where: str
    values: Mapping[str, Any]

    def whole(self, key: str, low: int = -LARGEST, high: int = LARGEST) -> int:
        value = self.values.get(key)
        if type(value) is not int or not low <= value <= high:
            raise BadInput(self.where, f"{key}={shown(value)} is no whole number {low} ... {high}")
        return value

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise BadInput(self.where, f"{key}={shown(value)} is no name")
        return value

    def number(self, key: str, value: Any, low: float = -math.inf) -> float:
        """The number `value`, which stands under `key` or in a list there."""
        if type(value) not in (int, float) or not low <= value <= LARGEST or value < -LARGEST:
            raise BadInput(self.where, f"{key}={shown(value)} is no number that can stand there")
        return float(value)


def shown(value: Any) -> str:
    """A value as a message shows it: at most 60 characters."""
    return f"{value!r:.60}" if not isinstance(value, int) or abs(value) < 10**60 else "(huge)"


def read_annotations(path: Path) -> Annotations:
    """The annotations in a file; BadInput names the first thing that is wrong."""
    content = load(path)
    images = unique(path, content, "images", picture_of)
    categories = unique(path, content, "categories", category_of)
    truths = unique(path, content, "annotations", truth_of)
    if not images or not categories:
        found = f"{len(images)} images and {len(categories)} categories"
        raise BadInput(path, f"has {found}", "list at least one of each")
    names = set()
    for category in categories.values():
        if category.name in names:
            raise BadInput(path, f"two categories are called {shown(category.name)}")
        names.add(category.name)
    for key, truth in truths.items():
        if truth.image_id not in images:
            raise BadInput(path, f"annotation {key}: there is no image {truth.image_id}")
        if truth.category_id not in categories:
            raise BadInput(path, f"annotation {key}: there is no category {truth.category_id}")
    return Annotations(ordered(images), tuple(truths.values()), ordered(categories))


def load(path: Path) -> dict[str, Any]:
    """The JSON object that the file holds."""
    content = json_in(path)
    if not isinstance(content, dict):
        raise BadInput(path, "is not a JSON object", "give annotations in COCO's layout")
    return content


def json_in(path: Path) -> Any:
    """The JSON value that an ordinary file of at most MOST_BYTES holds."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(path, "is not an ordinary file", "give a JSON file")
        if status.st_size > MOST_BYTES:
            raise BadInput(path, f"{status.st_size} bytes are more than {MOST_BYTES}")
        return json.loads(path.read_bytes())
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(path, f"is not JSON ({error})") from error


def unique(
    path: Path, content: Mapping[str, Any], key: str, make: Callable[[JsonObject], T]
) -> dict[int, T]:
    """The items of the list content[key], by id."""
    values = content.get(key)
    if not isinstance(values, list):
        raise BadInput(path, f"has no list {key!r}", "give annotations in COCO's layout")
    items: dict[int, T] = {}
    for index, value in enumerate(values):
        where = f"{path}: {key}[{index}]"
        if not isinstance(value, dict):
            raise BadInput(where, f"{shown(value)} is not a JSON object")
        item = JsonObject(where, value)
        number = item.whole("id")
        if number in items:
            raise BadInput(where, f"id={number} occurs twice")
        items[number] = make(item)
    return items


def ordered(items: Mapping[int, T]) -> tuple[T, ...]:
    """Items by ascending id."""
    return tuple(items[key] for key in sorted(items))


def picture_of(item: JsonObject) -> Picture:
    name = item.text("file_name")
    if Path(name).is_absolute() or ".." in name.replace("\\", "/").split("/"):
        raise BadInput(item.where, f"file_name={shown(name)} leaves the folder of images")
    sides = [
        item.whole(key, 1, LARGEST_SIDE) if item.values.get(key) is not None else None
        for key in ("width", "height")
    ]
    return Picture(item.whole("id"), name, sides[0], sides[1])


def category_of(item: JsonObject) -> Category:
    return Category(item.whole("id"), item.text("name"))


def truth_of(item: JsonObject) -> Truth:
    box = item.values.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise BadInput(item.where, f"bbox={shown(box)} is not [x, y, width, height]")
    x, y = (item.number("bbox", value) for value in box[:2])
    width, height = (item.number("bbox", value, 0) for value in box[2:])
    area = item.values.get("area")
    return Truth(
        item.whole("image_id"),
        item.whole("category_id"),
        (x, y, width, height),
        width * height if area is None else item.number("area", area, 0),
        item.whole("iscrowd", 0, 1) if "iscrowd" in item.values else 0,
    )
