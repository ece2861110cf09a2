"""What recording a golden costs: time against a forward pass, memory above the model.

    python bench/golden_cost.py [MODEL [SIZE]]    default random:yolov7 640; writes golden_cost.md

Verified first: the golden's last output is that of `run`. Then, one thread for the network, in
ROUNDS rounds of one forward pass and one golden with all outputs kept, written to the folder for
temporary files:

    forward, golden    seconds, the least of all rounds: by the clock, and of the processor for all
                       threads (the digests and the model's file are made by a second one), which
                       what else runs on the machine changes less
    memory             MB of the process at its peak while the first golden is recorded, above what
                       it had with the model loaded, before that was prepared for running
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from refquant.formats import load_model
from refquant.graph.walk import run
from refquant.study.golden import record_golden
from refquant.study.golden_file import open_golden

TABLE = Path(__file__).with_suffix(".md")
ROUNDS = 3
HEAD = (
    "| model | forward, s | golden, s | ratio | forward, CPU s | golden, CPU s | ratio "
    "| memory above the model | the model's arrays | the file |\n" + "|---" * 10 + "|\n"
)


def memory(key: str) -> float:
    """VmRSS or VmHWM of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0]) * 1024 / 1e6
    raise KeyError(key)


def forget_peak() -> None:
    """VmHWM starts again at VmRSS (Linux, man 5 proc)."""
    Path("/proc/self/clear_refs").write_text("5")


def timed(action) -> np.ndarray:
    """(seconds by the clock, seconds of the processor)."""
    start = time.perf_counter(), time.process_time()
    action()
    return np.array((time.perf_counter() - start[0], time.process_time() - start[1]))


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "random:yolov7"
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 640
    run(load_model("random:yolov7-tiny"), np.zeros((1, 3, 64, 64), np.float32))  # compiles
    model = load_model(name)
    arrays = sum(a.nbytes for node in model.nodes for a in node.arrays.values()) / 1e6
    x = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.h5"
        forget_peak()
        before = memory("VmRSS")
        record_golden(model, x, path)
        above = memory("VmHWM") - before
        with open_golden(path) as opened:
            assert np.array_equal(opened.output(model.head.name), run(model, x))
        forward, golden = [], []
        for _ in range(ROUNDS):
            forward.append(timed(lambda: run(model, x)))
            path.unlink()
            golden.append(timed(lambda: record_golden(model, x, path)))
        stored = path.stat().st_size / 1e6
    f, g = np.min(forward, axis=0), np.min(golden, axis=0)
    line = f"| {name} {size} | {f[0]:.2f} | {g[0]:.2f} | {g[0] / f[0]:.2f} "
    line += f"| {f[1]:.2f} | {g[1]:.2f} | {g[1] / f[1]:.2f} "
    line += f"| {above:.0f} MB | {arrays:.0f} MB | {stored:.0f} MB |\n"
    TABLE.write_text(
        "# What a golden costs\n\nWritten by `python bench/golden_cost.py`; see its docstring.\n\n"
        + HEAD
        + line
    )
    print(HEAD + line, end="")


if __name__ == "__main__":
    main()
