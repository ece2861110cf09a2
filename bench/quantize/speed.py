"""Time and memory of quantizing a full-size YOLOv7: `python -m bench.quantize.speed`.

Every way in a process of its own (Linux), which loads the model from a file, compiles what it
needs on a small one, and then quantizes 36.9 million seeded random weights. Rows go into
docs/quantization_speed.csv; `python -m bench.quantize.weights write` makes the page. Rows that are
there are not measured again; with `--quiet 2.5` those are that were measured beside other work or
on one core.

    every scheme with every option      filter, 4 bits: the default of `refquant quantize`
    the slower ones and all defaults    one long group, many long ones, many short ones, 8 bits:
                                        costs per weight and per group both show
    combinations                        all members of every layer, and the choice

    cpu_seconds       of all threads together: what a loaded machine does not change much
    cores             that the process was allowed to use
    load              processes that wanted a core in the minute before, this bench's own included
    peak_over_model   the highest resident memory while quantizing / bytes of the model's arrays
                      (interpreter and libraries included, about 0.15 GB)
Before timing, the tensors of the small model are checked against their bounds.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench.quantize.weights import SPEED as TARGET
from bench.quantize.weights import append, read
from refquant.auditing.audit import audit
from refquant.formats.catalogue import load_model, save_model
from refquant.graph.architecture import build
from refquant.quant.recipe import quantize_model, uniform
from refquant.quant.schemes import every_scheme

THREADS = 2
SCHEMES = (
    "affine", "affine:minmax", "affine:mse", "affine:percentile", "symmetric", "symmetric:mse",
    "pwlq", "pwlq-eq3", "pwlq-code", "pwlq-overlap", "pwlq:search", "pwlq-overlap:search",
    "power-of-two", "affine+bc", "pwlq+bc",
)  # fmt: skip
EVERY = dict.fromkeys((*SCHEMES, *(scheme.name for scheme in every_scheme())))
MEMBERS = "filter+f-shape+c-shape"
WAYS = (
    *(("lloyd-max", granularity, 5) for granularity in ("layer", "filter", "f-shape")),
    *((scheme, "filter", 4) for scheme in EVERY),
    *((s, granularity, 8) for granularity in ("block-32", "f-shape", "layer") for s in SCHEMES),
    ("lloyd-max", "channel", 5),
    ("lloyd-max", "filter", 6),
    ("affine", MEMBERS, 4),
    ("affine", f"{MEMBERS}:budget=3.92", 4),
    ("pwlq", f"{MEMBERS}:budget=3.86", 4),
    ("pwlq:search", MEMBERS, 4),
)


def measure(path: str, scheme: str, granularity: str, bits: int) -> dict[str, Any]:
    """One row."""
    recipe, load = uniform(scheme, granularity, bits), os.getloadavg()[0]
    small, members = build("yolov7", width=0.0625), granularity.partition(":")[0]
    tried = quantize_model(small, uniform(scheme, members, bits))  # no total that only fits YOLOv7
    assert audit(tried, small).total.within_bound
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
    row["cores"] = len(os.sched_getaffinity(0))
    figures = {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "load": load,
        "peak_over_model": peak / size,
    }
    return {**row, **{key: round(value, 2) for key, value in figures.items()}}


def good(row: dict[str, str], quiet: float) -> bool:
    """Whether a row may stay."""
    enough = int(row["cores"]) >= THREADS or quiet == np.inf
    return enough and float(row["load"]) <= quiet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quiet", type=float, default=np.inf, metavar="LOAD",
                        help="measure again what was measured at a load above LOAD, or on fewer "
                        "cores than threads")  # fmt: skip
    options = parser.parse_args()
    kept = [row for row in read(TARGET) if good(row, options.quiet)]
    done = {(row["scheme"], row["granularity"], int(row["bits"])): row for row in kept}
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/yolov7.h5"
        save_model(build("yolov7"), path)
        for way in WAYS:
            if way not in done:
                with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                    done[way] = pool.submit(measure, path, *way).result()
                print(done[way], flush=True)
                rows = [done[way] for way in WAYS if way in done]
                TARGET.unlink(missing_ok=True)
                append(TARGET, tuple(rows[0]), rows)


if __name__ == "__main__":
    main()
