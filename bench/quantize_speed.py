"""Time and memory of quantizing a full-size YOLOv7: `python bench/quantize_speed.py`.

Every way in a process of its own (Linux), which loads the model from a file, compiles what it
needs on a small one, and then quantizes 36.9 million seeded random weights. Rows go into
docs/quantization_speed.csv; bench/quantize.py makes the page.

    cpu_seconds       of all threads together: what a loaded machine does not change
    peak_over_model   the highest resident memory while quantizing / bytes of the model's arrays
                      (interpreter and libraries included, about 0.15 GB)
Before timing, the tensors of the small model are checked against their bounds.
"""

import csv
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from refquant.formats import load_model, save_model
from refquant.graph.architecture import build
from refquant.quant.recipe import quantize_model, uniform
from refquant.study.audit import audit

TARGET = Path(__file__).parents[1] / "docs" / "quantization_speed.csv"
THREADS = 2
WAYS = (
    ("affine", "filter", 4), ("affine", "f-shape", 8), ("affine:minmax", "block-32", 4),
    ("affine:mse", "filter", 4), ("symmetric", "c-shape", 4), ("power-of-two", "filter", 4),
    ("affine+bc", "filter", 4), ("pwlq", "filter", 4), ("pwlq", "layer", 4),
    ("pwlq", "block-32", 8), ("pwlq-code", "f-shape", 8), ("pwlq:search", "filter", 4),
    ("lloyd-max", "layer", 4), ("lloyd-max", "filter", 4), ("lloyd-max", "filter", 5),
)  # fmt: skip


def measure(path: str, scheme: str, granularity: str, bits: int) -> dict[str, Any]:
    """One row."""
    recipe = uniform(scheme, granularity, bits)
    small = build("yolov7", width=0.0625)
    assert audit(quantize_model(small, recipe), small)["total"]["within_bound"]
    model = load_model(path)
    arrays = [a for node in model.nodes for a in node.arrays.values() if isinstance(a, np.ndarray)]
    size = sum(array.nbytes for array in arrays)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    start, cpu_start = time.perf_counter(), time.process_time()
    quantize_model(model, recipe, threads=THREADS)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    row = {"scheme": scheme, "granularity": granularity, "bits": bits, "threads": THREADS}
    figures = {"seconds": seconds, "cpu_seconds": cpu, "peak_over_model": peak / size}
    return {**row, **{key: round(value, 2) for key, value in figures.items()}}


def main() -> None:
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/yolov7.h5"
        save_model(build("yolov7"), path)
        rows = []
        for way in WAYS:
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                rows.append(pool.submit(measure, path, *way).result())
            print(rows[-1], flush=True)
    with TARGET.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, tuple(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
