"""What a new process costs: imports, loading the kernels, compiling them, a first detection.

    python -m bench.speed.start MODEL PHOTO [--rounds R]

MODEL is a checkpoint, such as that of yolov5s. Every line of start.md is a process of its own,
started R times (5 by default); the least time counts, by the clock, from the start of the
interpreter to its end. The compile cache is an empty folder at first, so that "cold" is one
compilation of all that a forward pass needs, and "warm" is everything after. MB are 10^6 bytes,
the process's peak. "Numba and a function of its cache" is what the kept machine code
(engine/native.py) does without.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.project import ROOT

REPORT = Path(__file__).with_suffix(".md")
# What a process does last, if it is to say how much memory it had.
PEAK = "\nimport re; print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
WARMUP = "from refquant.engine.warmup import warmup; warmup()"
NUMBA = (
    "import numpy as np; from refquant.engine.activation_loops import silu_loop; "
    "silu_loop(np.zeros(1, np.float32))"
)
DETECT = "import sys; from refquant.cli.main import main; main(sys.argv[1:])"


def process(code: str, cache: str, *arguments: str) -> tuple[float, float]:
    """(seconds, MB) of a new process that runs the code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": cache}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + PEAK, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - start, 1024 * int(done.stdout.split()[-1]) / 1e6


def best(rounds: int, code: str, cache: str, *arguments: str) -> tuple[float, float]:
    """The least seconds and the least MB of some processes."""
    seconds, memory = zip(*(process(code, cache, *arguments) for _ in range(rounds)), strict=True)
    return min(seconds), min(memory)


def table(model: str, photo: str, rounds: int) -> list[tuple[str, float, float]]:
    """(what, seconds, MB) of every line."""
    arguments = ("detect", model, photo)
    command = f"`refquant detect {Path(model).name} {Path(photo).name}`"
    with tempfile.TemporaryDirectory() as cache:
        cold = process(WARMUP, cache)
        process(NUMBA, cache)
        lines = [
            ("python and NumPy", best(rounds, "import numpy", cache)),
            ("the kernels compiled, cold", cold),
            ("the kernels loaded, warm", best(rounds, WARMUP, cache)),
            ("Numba and a function of its cache, warm", best(rounds, NUMBA, cache)),
            (f"{command}, warm", best(rounds, DETECT, cache, *arguments)),
        ]
    with tempfile.TemporaryDirectory() as cache:
        lines.append((f"{command}, cold", process(DETECT, cache, *arguments)))
    return [(what, *measured) for what, measured in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("photo")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    from bench.speed.forward import machine

    lines = table(options.model, options.photo, options.rounds)
    text = "# What a new process costs\n\n"
    text += "Written by `python -m bench.speed.start`; see its docstring. "
    text += f"Machine: {machine()}.\n\n| process | seconds | MB |\n| --- | --- | --- |\n"
    text += "".join(f"| {what} | {seconds:.2f} | {mb:.0f} |\n" for what, seconds, mb in lines)
    REPORT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
