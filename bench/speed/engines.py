"""The engines that bench/speed/forward.py compares, each in a process of its own.

`python -m bench.speed.engines ENGINE MODEL THREADS` loads the model, says "ready" and the folder
of the package that it uses, and then answers lines on stdin:
    run       one forward pass: wall and CPU seconds
    outputs   the path of a file with the predictions for the bench's image
    memory    the peak resident memory of the process in bytes
    best      of refquant-steps: seconds, the sum of every step's best time so far
All engines get the same folded float32 model and the same image. MODEL is an architecture's
name, or an HDF5 file that holds one.
"""

import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import refquant as package
from refquant.engine.engine import Engine, prepared
from refquant.engine.fast import decode_fast
from refquant.engine.walk import run
from refquant.formats.catalogue import load_model
from refquant.graph.architecture import ARCHITECTURES, build
from refquant.graph.graph import INPUT, Model, Node, array_of

SIZE = 640
Forward = Callable[[], list[np.ndarray]]


def image() -> np.ndarray:
    """The image of all measurements, (1, 3, 640, 640)."""
    return np.random.default_rng(1).random((1, 3, SIZE, SIZE), dtype=np.float32)


def model_of(name: str) -> Model:
    """A model with seeded weights by name, or from a file."""
    return build(name) if name in ARCHITECTURES else load_model(name)


def refquant(name: str, x: np.ndarray, threads: int) -> Forward:
    """Ours."""
    ready = prepared(model_of(name))
    return lambda: [run(ready, x, threads=threads)]


class StepByStep:
    """Ours, one step after the other. What else a machine does can only make a step slower, so the
    sum of the steps' best times repeats to a thousandth where whole passes differ by a tenth.
    """

    def __init__(self, name: str, x: np.ndarray, threads: int) -> None:
        self.x = x[0]
        with Engine(model_of(name)).sized(SIZE, SIZE, threads, True) as sized:
            self.sized = sized
        self.best = np.full(len(sized.program.steps), np.inf)

    def __call__(self) -> list[np.ndarray]:
        predictions = np.empty((self.sized.rows, self.sized.entries), np.float32)
        self.sized.begin(self.x, predictions)
        for i in range(len(self.best)):
            start = time.perf_counter()
            self.sized.program.run(i, i + 1)
            self.best[i] = min(self.best[i], time.perf_counter() - start)
        return [predictions]


def refquant_4bit(name: str, x: np.ndarray, threads: int) -> Forward:
    """Ours with weights of 4 bits, affine per filter, that stay packed."""
    from refquant.quant.recipe import quantize_model, uniform

    ready = prepared(quantize_model(model_of(name), uniform(bits=4)))
    return lambda: [run(ready, x, threads=threads)]


def onnxruntime(name: str, x: np.ndarray, threads: int, raw: bool = False) -> Forward:
    """onnxruntime on the CPU: all optimisations, its arena on."""
    import onnxruntime as ort
    from onnx.shape_inference import infer_shapes
    from onnx.utils import Extractor

    from refquant.formats.onnx.export import onnx_model

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_cpu_mem_arena = True
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    model = model_of(name)
    exported = onnx_model(model, x.shape)
    if raw:
        whole = Extractor(infer_shapes(exported))
        exported = whole.extract_model([INPUT], list(model.head.inputs))
    session = ort.InferenceSession(
        exported.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {INPUT: x})


def onnxruntime_raw(name: str, x: np.ndarray, threads: int) -> Forward:
    """onnxruntime without the decode."""
    return onnxruntime(name, x, threads, raw=True)


def torch(name: str, x: np.ndarray, threads: int) -> Forward:
    """torch in eager mode, operation by operation, and our decode."""
    import torch as t

    t.set_num_threads(threads)
    model = model_of(name)
    anchors, strides = model.head.arrays["anchors"], model.head.attributes["strides"]
    arrays = {
        (node.name, key): t.from_numpy(array_of(value).copy())
        for node in model.nodes
        for key, value in node.arrays.items()
        if node.op == "conv" and key in ("weight", "bias")
    }

    @t.inference_mode()
    def forward() -> list[np.ndarray]:
        maps = {INPUT: t.from_numpy(x)}
        last = {name: i for i, node in enumerate(model.nodes) for name in node.inputs}
        for i, node in enumerate(model.nodes[:-1]):
            maps[node.name] = torch_node(node, [maps[name] for name in node.inputs], arrays)
            for name in set(node.inputs):
                if last[name] == i:
                    del maps[name]
        raw = [maps[name].numpy() for name in model.head.inputs]
        return [decode_fast(*raw, anchors=anchors, strides=strides)]

    return forward


def torch_node(node: Node, xs: list[Any], arrays: dict[Any, Any]) -> Any:
    """One node by torch."""
    import torch as t
    from torch.nn import functional as f

    a = node.attributes
    if node.op == "conv":
        weight, bias = arrays[node.name, "weight"], arrays.get((node.name, "bias"))
        y = f.conv2d(xs[0], weight, bias, a["stride"], a["padding"])
        if a["activation"] == "leaky":
            return f.leaky_relu(y, 0.1)
        return f.silu(y) if a["activation"] == "silu" else y
    if node.op == "max_pool":
        return f.max_pool2d(xs[0], a["kernel"], a["stride"], a["padding"])
    if node.op == "upsample":
        return f.interpolate(xs[0], scale_factor=a["scale"], mode="nearest")
    return t.cat(xs, 1) if node.op == "concat" else sum(xs[1:], xs[0])


ENGINES = {
    "refquant": refquant,
    "refquant-steps": StepByStep,
    "refquant-4bit": refquant_4bit,
    "onnxruntime": onnxruntime,
    "onnxruntime-raw": onnxruntime_raw,
    "torch": torch,
}


def peak_memory() -> int:
    """Peak resident bytes of this process.

    Linux counts into a child's ru_maxrss what its parent had when it started the child; VmHWM, in
    KiB, is the same measure without that.
    """
    try:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def answer(request: str, forward: Any) -> str:
    if request == "memory":
        return str(peak_memory())
    if request == "best":
        return str(forward.best.sum())
    if request == "outputs":
        with tempfile.NamedTemporaryFile(suffix=".npz", delete=False) as file:
            np.savez(file, *forward())
        return file.name
    wall, cpu = time.perf_counter(), time.process_time()
    forward()
    return f"{time.perf_counter() - wall} {time.process_time() - cpu}"


def main() -> None:
    engine, name, threads = sys.argv[1:]
    forward = ENGINES[engine](name, image(), int(threads))
    print("ready", Path(package.__file__).resolve().parents[1], flush=True)
    for line in sys.stdin:
        print(answer(line.strip(), forward), flush=True)


if __name__ == "__main__":
    main()
