"""How far each engine's convolutions are from float64.

    python -m bench.accuracy.convolution_error [--size 160]

Each convolution of YOLOv7 (seeded weights, full width) gets the input that it has in our own
forward pass over a random image, and computes its sum and bias, without activation. With y64 the
same in float64 (conv_math) and rms over all outputs of the layer:

    error = rms(y - y64) / rms(y64)

The report gives the median and the largest over the layers, for refquant's arithmetic,
onnxruntime, and torch where it is installed. Writes bench/accuracy/convolution_error.md.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from refquant.engine.conv_fast import conv_fast
from refquant.engine.walk import walk
from refquant.graph.architecture import build
from refquant.graph.graph import INPUT
from refquant.ops.conv import conv_math

REPORT = Path(__file__).with_suffix(".md")


def by_onnxruntime(x, weight, bias, *, stride, padding):
    """One Conv node in a session of its own."""
    node = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], strides=[stride] * 2, pads=[padding] * 4
    )
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "conv",
        [info("x", TensorProto.FLOAT, x.shape)],
        [info("y", TensorProto.FLOAT, ["n", "f", "p", "q"])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"x": x})[0]


def by_torch(x, weight, bias, *, stride, padding):
    import torch

    arrays = (torch.from_numpy(np.array(a)) for a in (x, weight, bias))
    with torch.inference_mode():
        return torch.nn.functional.conv2d(*arrays, stride, padding).numpy()


def errors(size: int) -> dict[str, list[float]]:
    """Every engine's error at every convolution."""
    engines = {"refquant": conv_fast, "onnxruntime": by_onnxruntime}
    if importlib.util.find_spec("torch"):
        engines["torch"] = by_torch
    model = build("yolov7")
    maps = {INPUT: np.random.default_rng(1).random((1, 3, size, size), dtype=np.float32)}
    found: dict[str, list[float]] = {name: [] for name in engines}
    for node, y in walk(model, maps[INPUT]):
        maps[node.name] = y
        if node.op != "conv":
            continue
        x, weight, bias = maps[node.inputs[0]], node.arrays["weight"], node.arrays["bias"]
        options = {key: node.attributes[key] for key in ("stride", "padding")}
        exact = conv_math(x, weight, bias, **options)
        for name, conv in engines.items():
            error = np.sqrt(np.mean((conv(x, weight, bias, **options) - exact) ** 2))
            found[name].append(float(error / np.sqrt(np.mean(exact**2))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=160, help="side of the image in pixels")
    size = parser.parse_args().size
    found = errors(size)
    best = min(float(np.median(e)) for name, e in found.items() if name != "refquant")
    lines = [
        "| engine | median error | largest | median, x the best other |",
        "| --- " * 4 + "|",
    ]
    for name, e in found.items():
        median = float(np.median(e))
        lines.append(f"| {name} | {median:.3e} | {max(e):.3e} | {median / best:.3f} |")
    head = (
        f"# Convolutions against float64\n\nYOLOv7, {len(found['refquant'])} convolutions, "
        f"{size} x {size}. Written by `python -m bench.accuracy.convolution_error`; see its "
        "docstring.\n\n"
    )
    REPORT.write_text(head + "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
