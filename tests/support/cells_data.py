"""A data set of white cells in COCO's layout, and a program that evaluates it, to be killed.

    python cells_data.py FOLDER LOG RESULTS [SECONDS [WORKERS]]

The arithmetic is "ref", which starts without Numba and gives the bits of "fast".
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from white_cells import NAMES, white_cells

from refquant.detection.dataset import find_dataset
from refquant.detection.evaluate import evaluate
from refquant.detection.results_json import write_results
from refquant.detection.workers import process_pool

OPTIONS = {"size": 96, "protocol": "yolov7", "batch": 3}


def make_cells(folder: Path, count: int = 12) -> Path:
    """Images of random sizes with grey noise and white cells somewhere, and where these are."""
    rng = np.random.default_rng(count)
    (folder / "annotations").mkdir(parents=True)
    (folder / "val").mkdir()
    categories = [{"id": 4, "name": NAMES[0]}, {"id": 6, "name": NAMES[1]}]
    content = {"images": [], "annotations": [], "categories": categories}
    for key in range(1, count + 1):
        height, width = (int(side) for side in rng.integers(48, 140, 2))
        pixels = rng.integers(0, 200, (height, width, 3), dtype=np.uint8)
        for _ in range(3):
            y, x = int(rng.integers(0, height - 32)), int(rng.integers(0, width - 32))
            pixels[y : y + 32, x : x + 32] = 255
            box = {"image_id": key, "category_id": 4, "bbox": [x, y, 32, 32]}
            content["annotations"].append(box | {"id": len(content["annotations"])})
        Image.fromarray(pixels).save(folder / "val" / f"{key}.png")
        content["images"].append({"id": key, "file_name": f"{key}.png"})
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return folder


def main(folder: str, log: str, results: str, seconds: str = "0", workers: str = "0") -> None:
    def progress(done: int, total: int) -> None:
        print(f"{done}/{total}", flush=True)
        time.sleep(float(seconds))

    options = OPTIONS | {"log": log, "progress": progress, "arithmetic": "ref"}
    if int(workers):
        with process_pool(int(workers)) as executor:
            stats = evaluate(white_cells(), find_dataset(folder), executor=executor, **options)
    else:
        stats = evaluate(white_cells(), find_dataset(folder), **options)
    write_results(results, stats.results)


if __name__ == "__main__":
    main(*sys.argv[1:])
