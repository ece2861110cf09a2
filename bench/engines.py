"""The engines that bench/forward.py compares, each in a process of its own.

`python bench/engines.py ENGINE MODEL THREADS` loads the model and then reads lines from stdin:
    run       one forward pass; answers with wall and CPU seconds
    outputs   path of a file with the raw maps of the head for the bench's image
All engines get the same folded float32 model and the same image.
"""

import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from refquant.graph.architecture import build
from refquant.graph.graph import Model, array_of

SIZE = 640
Forward = Callable[[], list[np.ndarray]]


def image() -> np.ndarray:
    """The image of all measurements, (1, 3, 640, 640)."""
    return np.random.default_rng(1).random((1, 3, SIZE, SIZE), dtype=np.float32)


def refquant(model: Model, x: np.ndarray, threads: int) -> tuple[Forward, Forward]:
    """Ours: predictions, the decode included; raw maps on demand."""
    from refquant.graph.engine import prepared
    from refquant.graph.walk import run, walk

    ready = prepared(model)

    def raw() -> list[np.ndarray]:
        wanted = {name: i for i, name in enumerate(ready.head.inputs)}
        return [y for node, y in walk(ready, x, threads=threads) if node.name in wanted]

    return lambda: [run(ready, x, threads=threads)], raw


def onnxruntime(model: Model, x: np.ndarray, threads: int) -> tuple[Forward, Forward]:
    """onnxruntime on the CPU: all optimisations, arena on."""
    import onnxruntime as ort
    from onnx_export import onnx_model

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_cpu_mem_arena = True
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    exported = onnx_model(model, SIZE, SIZE).SerializeToString()
    session = ort.InferenceSession(exported, options, providers=["CPUExecutionProvider"])

    def forward() -> list[np.ndarray]:
        return session.run(None, {"images": x})

    return forward, forward


def torch(model: Model, x: np.ndarray, threads: int) -> tuple[Forward, Forward]:
    """torch in eager mode, operation by operation."""
    import torch as t
    from torch.nn import functional as f

    t.set_num_threads(threads)
    activations = {"silu": f.silu, "leaky": lambda y: f.leaky_relu(y, 0.1), "linear": lambda y: y}
    arrays = {
        (node.name, key): t.from_numpy(array_of(value).copy())
        for node in model.nodes
        for key, value in node.arrays.items()
        if node.op == "conv" and key in ("weight", "bias")
    }

    def step(node, ins):
        a = node.attributes
        if node.op == "conv":
            weight, bias = arrays[node.name, "weight"], arrays.get((node.name, "bias"))
            y = f.conv2d(ins[0], weight, bias, a["stride"], a["padding"])
            return activations[a["activation"]](y)
        if node.op == "max_pool":
            return f.max_pool2d(ins[0], a["kernel"], a["stride"], a["padding"])
        if node.op == "upsample":
            return f.interpolate(ins[0], scale_factor=a["scale"], mode="nearest")
        return t.cat(ins, 1) if node.op == "concat" else sum(ins[1:], ins[0])

    @t.inference_mode()
    def forward() -> list[np.ndarray]:
        maps = {"images": t.from_numpy(x)}
        last = {name: i for i, node in enumerate(model.nodes) for name in node.inputs}
        for i, node in enumerate(model.nodes[:-1]):
            maps[node.name] = step(node, [maps[name] for name in node.inputs])
            for name in set(node.inputs):
                if last[name] == i:
                    del maps[name]
        return [maps[name].numpy() for name in model.head.inputs]

    return forward, forward


ENGINES = {"refquant": refquant, "onnxruntime": onnxruntime, "torch": torch}


def main() -> None:
    engine, name, threads = sys.argv[1:]
    forward, raw = ENGINES[engine](build(name), image(), int(threads))
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "outputs":
            with tempfile.NamedTemporaryFile(suffix=".npz", delete=False) as file:
                np.savez(file, *raw())
            print(file.name, flush=True)
        else:
            wall, cpu = time.perf_counter(), time.process_time()
            forward()
            print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)


if __name__ == "__main__":
    main()
