"""The demo's scenes as files: the validation set that is shipped, the training set as one array.

    python -m weights.scene_files val weights/demo        PNG files and COCO annotations
    python -m weights.scene_files train FOLDER --count 9000

val     FOLDER/val/00000.png ..., lossless, with a palette, and
        FOLDER/annotations/instances_val.json: boxes x, y, width, height in pixels,
        area = width * height (there are no masks),
        category_id = class + 1, image ids from 1
train   FOLDER/images.npy (count, SIDE, SIDE, 3) uint8 and FOLDER/boxes.npz: boxes (D, 4) float32
        x1 y1 x2 y2, classes (D,) int64, image (D,) int64, the number of the image that a box is in
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .scenes import COLOURS, NAMES, SIDE, Scene, scene

VALIDATION_IMAGES = 360


def scenes(split: str, count: int, workers: int) -> Iterator[Scene]:
    """The first `count` scenes of a split, in order; `workers` processes do not change them."""
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(partial(scene, split), range(count), chunksize=16)


def ship(folder: Path, workers: int) -> None:
    """Write the validation set."""
    (folder / "val").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(scenes("val", VALIDATION_IMAGES, workers)):
        name = f"{number:05d}.png"
        photo = Image.fromarray(one.image)
        few = photo.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        if not np.array_equal(np.asarray(few.convert("RGB")), one.image):
            raise SystemExit(f"{name}: the palette does not hold the image's colours")
        few.save(folder / "val" / name, optimize=True)
        images.append({"id": number + 1, "file_name": name, "width": SIDE, "height": SIDE})
        for box, label in zip(one.boxes, one.classes):
            annotations.append(annotation(len(annotations) + 1, number + 1, box, int(label)))
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations" / "instances_val.json"
    path.write_text(json.dumps(whole, separators=(",", ":")) + "\n", encoding="utf-8")


def annotation(number: int, image: int, box: np.ndarray, label: int) -> dict[str, Any]:
    """One object as COCO has it."""
    x1, y1, x2, y2 = (int(side) for side in box)
    return {
        "id": number,
        "image_id": image,
        "category_id": label + 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
    }


def render(folder: Path, count: int, workers: int) -> None:
    """Write the training set."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.lib.format.open_memmap(
        folder / "images.npy", "w+", np.uint8, (count, SIDE, SIDE, 3)
    )
    boxes, classes, owners = [], [], []
    for number, one in enumerate(scenes("train", count, workers)):
        images[number] = one.image
        boxes.append(one.boxes)
        classes.append(one.classes)
        owners.append(np.full(len(one.boxes), number))
    images.flush()
    np.savez(
        folder / "boxes.npz",
        boxes=np.concatenate(boxes).astype(np.float32),
        classes=np.concatenate(classes),
        image=np.concatenate(owners),
    )


def sha256_of(folder: Path) -> str:
    """One hash of the validation set: over the annotations, then the files in order of name."""
    whole = hashlib.sha256((folder / "annotations" / "instances_val.json").read_bytes())
    for path in sorted((folder / "val").glob("*.png")):
        whole.update(path.name.encode() + path.read_bytes())
    return whole.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the demo's scenes.")
    parser.add_argument("split", choices=("train", "val"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=9000, help="training images")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if args.split == "val":
        ship(args.folder, args.workers)
        print(sha256_of(args.folder))
    else:
        render(args.folder, args.count, args.workers)


if __name__ == "__main__":
    main()
