"""Other runtimes, to be judged: the outputs of every node, or of the last one alone.

onnxruntime    runs the exported graph; values inside a node are not asked for, so that it may
               fuse a convolution with its activation and choose its own memory layout
OpenCV DNN     likewise
PyTorch        our graph, operation by operation; left out where torch is not installed
"""

from typing import Any

import numpy as np

from refquant.graph.graph import INPUT, Model, Node, array_of

Arrays = dict[str, np.ndarray]


def versions() -> str:
    """Which versions were used."""
    import cv2
    import onnxruntime

    found = [f"NumPy {np.__version__}", f"onnxruntime {onnxruntime.__version__}"]
    found.append(f"OpenCV {cv2.__version__}")
    if has_torch():
        import torch

        found.append(f"PyTorch {torch.__version__}")
    return ", ".join(found)


def has_torch() -> bool:
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def onnxruntime_outputs(
    exported: Any, x: np.ndarray, names: list[str], threads: int = 1
) -> Arrays:
    """The tensors of those names."""
    import onnx
    import onnxruntime

    whole = onnx.ModelProto()
    whole.CopyFrom(exported)
    known = {item.name for item in whole.graph.output}
    whole.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        whole.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(names, session.run(names, {INPUT: x}), strict=True))


def opencv_outputs(model: Model, exported: Any, x: np.ndarray, threads: int) -> Arrays:
    """Each an output of the graph: OpenCV 5 reuses the memory of others."""
    import cv2
    import onnx

    cv2.setNumThreads(threads)
    whole = onnx.shape_inference.infer_shapes(exported)
    wanted = {node.name for node in model.nodes} - {item.name for item in whole.graph.output}
    whole.graph.output.extend(item for item in whole.graph.value_info if item.name in wanted)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(whole.SerializeToString(), np.uint8))
    net.setInput(x)
    names = net.getUnconnectedOutLayersNames()
    return {n: np.array(y) for n, y in zip(names, net.forward(names), strict=True)}


def torch_outputs(model: Model, x: np.ndarray, threads: int) -> Arrays:
    """Every node by PyTorch's own operation."""
    import torch

    torch.set_num_threads(threads)
    outputs = {INPUT: torch.from_numpy(x)}
    with torch.inference_mode():
        for node in model.nodes:
            inputs = [outputs[name] for name in node.inputs]
            outputs[node.name] = by_torch(node, inputs, torch, torch.nn.functional)
    del outputs[INPUT]
    return {name: y.numpy() for name, y in outputs.items()}


def by_torch(node: Node, inputs: list[Any], torch: Any, F: Any) -> Any:
    """One node. F is torch.nn.functional."""
    a, x = node.attributes, inputs[0]
    if node.op == "conv":
        arrays = [
            torch.from_numpy(np.array(array_of(node.arrays[k]), np.float32)) if k in node.arrays
            else None
            for k in ("weight", "bias")
        ]  # fmt: skip
        y = F.conv2d(x, *arrays, stride=a["stride"], padding=a["padding"])
        other = {"silu": F.silu, "leaky": lambda z: F.leaky_relu(z, 0.1), "linear": lambda z: z}
        return other[a["activation"]](y)
    if node.op == "max_pool":
        return F.max_pool2d(x, a["kernel"], a["stride"], a["padding"])
    if node.op == "upsample":
        return F.interpolate(x, scale_factor=a["scale"], mode="nearest")
    if node.op == "add":
        return torch.stack(inputs).sum(0) if len(inputs) > 2 else inputs[0] + inputs[1]
    if node.op == "space_to_depth":
        inputs = [x[..., r::2, c::2] for r, c in ((0, 0), (1, 0), (0, 1), (1, 1))]
    if node.op in ("concat", "space_to_depth"):
        return torch.cat(inputs, 1)
    assert node.op == "decode", node.op
    anchors = torch.from_numpy(np.array(node.arrays["anchors"], np.float32))
    parts = [decoded(*level, torch) for level in zip(inputs, anchors, a["strides"], strict=True)]
    return torch.cat(parts, 1)


def decoded(raw: Any, anchors: Any, stride: int, torch: Any) -> Any:
    """One level of the head, as public implementations write it."""
    N, channels, H, W = raw.shape
    A = len(anchors)
    y = raw.view(N, A, channels // A, H, W).permute(0, 1, 3, 4, 2).sigmoid()
    grid = torch.stack(torch.meshgrid(torch.arange(W), torch.arange(H), indexing="xy"), -1)
    xy = (y[..., :2] * 2 - 0.5 + grid) * stride
    wh = (y[..., 2:4] * 2) ** 2 * anchors.view(1, A, 1, 1, 2)
    return torch.cat((xy, wh, y[..., 4:]), -1).reshape(N, A * H * W, -1)
