"""The same bits on every CPU: code made for other CPUs, other tiles, other numbers of threads.

    python -m bench.accuracy.bits

Each line of bits.md is a process in which Numba generates code for the CPU named, with
that CPU's features and no others (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES empty). It hashes every
output of two narrow networks, whose hashes by the definition are in tests/goldens/forward.json,
and of YOLOv7-tiny at full size and 640 x 640, for 1, 2, 3 and 7 threads. `generic` has no fused
multiply-add: the C library's fmaf stands in, and only the narrow networks run. `tiles` says
which tiles.py chose. What stands below the table (ARM, versions) is kept.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.project import ROOT, TESTS, use_helpers_of_tests

CPUS = ("", "skylake-avx512", "haswell", "znver2", "generic")
THREADS = (1, 2, 3, 7)


def hashes(model, x, threads: int) -> list[str]:
    """sha256 of every output."""
    from refquant.engine.walk import walk

    return [hashlib.sha256(y.tobytes()).hexdigest() for _, y in walk(model, x, threads=threads)]


def one_process(full_size: bool) -> None:
    """What a process prints: the tiles, whether goldens are met, and the full network's hashes."""
    use_helpers_of_tests()
    from whole_numbers import model_of_whole_numbers

    from refquant.engine.tiles import tiles_for_this_cpu
    from refquant.graph.architecture import build

    golden = json.loads((TESTS / "goldens" / "forward.json").read_text())
    met = all(
        hashes(*model_of_whole_numbers(name), threads) == list(golden[name].values())
        for name in golden
        for threads in THREADS
    )
    full = []
    if full_size:
        model, x = build("yolov7-tiny"), np.random.default_rng(1).random((1, 3, 640, 640))
        full = [hashes(model, x, threads) for threads in THREADS]
    tiles = " ".join(f"{tile.pixels}x{tile.vectors}" for tile in tiles_for_this_cpu())
    print(json.dumps({"tiles": tiles, "golden": met, "full": full}))


def result_of(cpu: str) -> dict:
    """The answer of a process for that CPU, with a compile cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(ROOT)}
        if cpu:
            environment |= {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
        size = "narrow" if cpu == "generic" else "full"
        process = subprocess.run(
            [sys.executable, "-m", "bench.accuracy.bits", size],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    return json.loads(process.stdout)


def main() -> None:
    if len(sys.argv) > 1:
        one_process(sys.argv[1] == "full")
        return
    results = {cpu: result_of(cpu) for cpu in CPUS}
    reference = results[""]["full"][0]
    lines = [
        "| CPU | tiles | goldens, 1 2 3 7 threads | YOLOv7-tiny, 1 2 3 7 threads |",
        "| --- " * 4 + "|",
    ]
    for cpu, result in results.items():
        full = "same" if all(h == reference for h in result["full"]) else "DIFFERENT"
        golden = "same" if result["golden"] else "DIFFERENT"
        name = cpu or f"this one ({platform.machine()})"
        lines.append(
            f"| {name} | {result['tiles']} | {golden} | {full if result['full'] else '-'} |"
        )
    head = "# The same bits everywhere\n\n"
    head += "Written by `python -m bench.accuracy.bits`; see its docstring.\n\n"
    page = Path(__file__).with_suffix(".md")
    _, mark, others = page.read_text().partition("\n## ")  # what other commands and people found
    page.write_text(head + "\n".join(lines) + "\n" + mark + others)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
