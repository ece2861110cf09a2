"""Pictures of the demo's scenes with what the model finds, and with what is there.

    python -m weights.demo_picture docs/demo_detections.png            detections
    python -m weights.demo_picture truth.png --truth                   true boxes

Eight images of the validation set, twice their size, detections with a score above 0.25.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from refquant.detection.dataset import DataSet, find_dataset
from refquant.detection.draw import draw
from refquant.detection.image import read_image
from refquant.detection.predict import Detections, detect
from refquant.formats.catalogue import load_model

from .scenes import NAMES, SIDE

HERE = Path(__file__).parent
IMAGES = (8, 31, 77, 123, 160, 204, 258, 321)
ACROSS, SCALE, GAP = 4, 2, 4


def truth_of(dataset: DataSet, image: int) -> Detections:
    """The true boxes of an image as detections with score 1."""
    truths = [truth for truth in dataset.truths if truth.image_id == image]
    boxes = np.array([truth.bbox for truth in truths], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    classes = np.array([truth.category_id - 1 for truth in truths], np.int64)
    return Detections(boxes, np.ones(len(boxes), np.float32), classes)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw scenes and what is found in them.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--truth", action="store_true", help="true boxes instead of detections")
    args = parser.parse_args()
    dataset = find_dataset(HERE / "demo", "val")
    model = None if args.truth else load_model(HERE / "demo.h5")
    step = SIDE * SCALE + GAP
    rows = -(-len(IMAGES) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * step - GAP, rows * step - GAP), "white")
    for k, number in enumerate(IMAGES):
        one = dataset.images[number]
        pixels = read_image(dataset.folder / one.file_name)
        found = (
            truth_of(dataset, one.id)
            if model is None
            else detect(model, pixels, size=int(model.source["input_size"]))
        )
        large = np.repeat(np.repeat(pixels, SCALE, axis=0), SCALE, axis=1)
        scaled = Detections(found.boxes * np.float32(SCALE), found.scores, found.classes)
        sheet.paste(draw(large, scaled, NAMES), (k % ACROSS * step, k // ACROSS * step))
    sheet.quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        args.picture, optimize=True
    )


if __name__ == "__main__":
    main()
