"""A study small enough for tests, and a program that runs it slowly, to be killed.

    python study_cells.py FOLDER OUTPUT [SECONDS]

The model is that of white_cells.py with noise in the weights that place boxes, so that boxes are
a little off, and quantization moves them: AP is neither 0 nor 1, and not the same for all.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from white_cells import NAMES, scene, white_cells

from refquant.detection.dataset import find_dataset
from refquant.graph.graph import Model
from refquant.study.configurations import Configuration
from refquant.study.sweep import Work, study

CONFIGURATIONS = (
    Configuration("affine", "filter", 4),
    Configuration("pwlq", "filter", 4),
    Configuration("affine", "layer", 2),
    Configuration("affine", "filter", 5),
    Configuration("affine", "filter+f-shape+c-shape", 4),
)
OPTIONS = {"size": 96, "resamples": 20}


def make_grid_data(folder: Path, count: int = 8) -> Path:
    """Images of 96 x 96 with three white cells each; every other one has one more, unlabelled."""
    rng = np.random.default_rng(count)
    (folder / "annotations").mkdir(parents=True)
    (folder / "val").mkdir()
    categories = [{"id": 4, "name": NAMES[0]}, {"id": 6, "name": NAMES[1]}]
    content: dict = {"images": [], "annotations": [], "categories": categories}
    for key in range(1, count + 1):
        places = rng.permutation(9)[:4]
        cells = [(int(p) // 3, int(p) % 3) for p in places]
        pixels = scene(96, 96, *cells[: 3 + key % 2])
        pixels[:32] = pixels[:32] // 255 * (200 + 5 * key)
        Image.fromarray(pixels).save(folder / "val" / f"{key}.png")
        content["images"].append({"id": key, "file_name": f"{key}.png"})
        for row, column in cells[:3]:
            box = {"image_id": key, "category_id": 4, "bbox": [32 * column, 32 * row, 32, 32]}
            content["annotations"].append(box | {"id": len(content["annotations"])})
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return folder


def noisy_cells() -> Model:
    """The model."""
    model = white_cells()
    head = model["head"]
    weight = np.array(head.arrays["weight"])
    noise = np.random.default_rng(3).normal(0, 0.004, weight[:4].shape)
    weight[:4] = noise
    arrays = {**head.arrays, "weight": weight}
    return model.with_nodes((replace(head, arrays=arrays), *model.nodes[1:]))


def run(data: Path, output: Path, work: Work | None = None, **options) -> dict:
    """The small study."""
    dataset = find_dataset(data)
    return study(noisy_cells(), dataset, output, CONFIGURATIONS, **OPTIONS | options, work=work)


def main(data: str, output: str, seconds: str = "0") -> None:
    def progress(*what: object) -> None:
        print(*what, flush=True)
        time.sleep(float(seconds))

    results = run(Path(data), Path(output), Work(progress=progress))
    (Path(output) / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
