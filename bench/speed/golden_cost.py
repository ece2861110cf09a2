"""What recording a golden costs: time against a forward pass, memory above the model.

    python -m bench.speed.golden_cost [MODEL [SIZE]]    random:yolov7 640 if nothing is given;
                                                        writes golden_cost.md

Verified first: the golden's last output is that of `run`. Then, one thread for the network, in
ROUNDS rounds of one forward pass and one golden with all outputs kept, written to the folder for
temporary files:

    forward, golden    seconds, the least of all rounds: by the clock; of the processor, of the
                       thread that uses more of it, which is the time on a machine with two idle
                       cores (a second thread digests and writes); of the processor, all threads
    memory             MB of the process at its peak while the first golden is recorded, above what
                       it had with the model loaded, before that was prepared for running
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from refquant.engine.walk import run
from refquant.formats.catalogue import load_model
from refquant.graph.graph import Model
from refquant.verification.golden.file import open_golden
from refquant.verification.golden.record import record_golden

TABLE = Path(__file__).with_suffix(".md")
ROUNDS = 5
TEXT = (
    "| model | seconds of | forward | golden | ratio |\n|---|---|---|---|---|\n"
    "| {name} {size} | the clock | {f[0]:.2f} | {g[0]:.2f} | {r[0]:.2f} |\n"
    "| | the processor, longer thread | {f[1]:.2f} | {g[1]:.2f} | {r[1]:.2f} |\n"
    "| | the processor, all threads | {f[2]:.2f} | {g[2]:.2f} | {r[2]:.2f} |\n\n"
    "Memory: {above:.0f} MB above the model, whose arrays are {arrays:.0f} MB. "
    "The file: {stored:.0f} MB.\n"
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


def timed(action: Callable[[], Any]) -> np.ndarray:
    """(by the clock, longer thread, all threads), in seconds."""
    start = time.perf_counter(), time.thread_time(), time.process_time()
    action()
    own, every = time.thread_time() - start[1], time.process_time() - start[2]
    return np.array((time.perf_counter() - start[0], max(own, every - own), every))


def measured(model: Model, x: np.ndarray, path: Path) -> dict[str, Any]:
    """What TEXT says, but for the model's name; the last golden stays at `path`."""
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
    f, g = np.min(forward, axis=0), np.min(golden, axis=0)
    return {"f": f, "g": g, "r": g / f, "above": above, "stored": path.stat().st_size / 1e6}


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "random:yolov7"
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 640
    run(load_model("random:yolov7-tiny"), np.zeros((1, 3, 64, 64), np.float32))  # compiles
    model = load_model(name)
    arrays = sum(a.nbytes for node in model.nodes for a in node.arrays.values()) / 1e6
    x = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        facts = measured(model, x, Path(folder) / "g.h5")
    text = TEXT.format(name=name, size=size, arrays=arrays, **facts)
    lesson = "Written by `python -m bench.speed.golden_cost`; see its docstring."
    TABLE.write_text(f"# What a golden costs\n\n{lesson}\n\n{text}")
    print(text, end="")


if __name__ == "__main__":
    main()
