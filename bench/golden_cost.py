"""What recording a golden costs: time against a forward pass, memory above the model.

    python bench/golden_cost.py [MODEL [SIZE]]        default random:yolov7 640

Verified first: the golden's last output is that of `run`. Then printed:
    forward    core seconds of one forward pass, the least of 3, compiled and prepared before
    golden     core seconds of record_golden with all outputs kept, the least of 2, and the ratio:
               processor time of all threads, which a busy machine does not change much
    memory     MB of the process at its peak while recording, above what it had once the model was
               loaded (before it was prepared); the model's own arrays in MB
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from refquant.formats import load_model
from refquant.graph.walk import run
from refquant.study.golden import record_golden
from refquant.study.golden_file import open_golden

MB = 1024  # ru_maxrss is in KB


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "random:yolov7"
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 640
    warm = np.zeros((1, 3, 64, 64), np.float32)
    run(load_model("random:yolov7-tiny"), warm)  # compiles
    model = load_model(name)
    arrays = sum(a.nbytes for node in model.nodes for a in node.arrays.values()) / 1e6
    x = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    before = peak()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.h5"
        golden = []
        for _ in range(2):
            start = time.process_time()
            record_golden(model, x, path)
            golden.append(time.process_time() - start)
        high = peak()
        forward = []
        for _ in range(3):
            start = time.process_time()
            predictions = run(model, x)
            forward.append(time.process_time() - start)
        with open_golden(path) as opened:
            assert np.array_equal(opened.output(model.head.name), predictions)
        bytes_ = path.stat().st_size
    print(f"| {name} {size} | {min(forward):.2f} s | {min(golden):.2f} s | ", end="")
    print(
        f"{min(golden) / min(forward):.2f} | {high - before:.0f} MB | {arrays:.0f} MB | ", end=""
    )
    print(f"{bytes_ / 1e6:.0f} MB |")


if __name__ == "__main__":
    main()
