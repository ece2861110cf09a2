"""One convolution by ncnn: a network of that layer alone, in float32, Winograd as it likes.

Left out (None) where ncnn is not installed (`pip install ncnn`).
"""

import tempfile
from pathlib import Path

import numpy as np

from refquant.graph.graph import Node, array_of
from refquant.ops.activation import ACTIVATIONS


def has_ncnn() -> bool:
    try:
        import ncnn  # noqa: F401
    except ImportError:
        return False
    return True


def ncnn_convolution(node: Node, x: np.ndarray) -> np.ndarray | None:
    """The node's output (1, F, P, Q) for x (1, C, H, W); the activation is ours."""
    if not has_ncnn():
        return None
    import ncnn

    weight, bias = (array_of(node.arrays[k]).astype("<f4") for k in ("weight", "bias"))
    (F, _, R, S), a = weight.shape, node.attributes
    numbers = f"0={F} 1={S} 11={R} 3={a['stride']} 4={a['padding']} 5=1 6={weight.size}"
    text = f"7767517\n2 2\nInput in 0 1 in\nConvolution conv 1 1 in out {numbers}\n"
    net = ncnn.Net()
    for option in (
        "use_fp16_packed",
        "use_fp16_storage",
        "use_fp16_arithmetic",
        "use_bf16_storage",
    ):
        setattr(net.opt, option, False)
    net.opt.num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conv.bin"
        path.write_bytes(bytes(4) + weight.tobytes() + bias.tobytes())  # 0: weights are float32
        net.load_param_mem(text)
        net.load_model(str(path))
    extractor = net.create_extractor()
    extractor.input("in", ncnn.Mat(np.ascontiguousarray(x[0])))
    _, out = extractor.extract("out")
    return ACTIVATIONS[a["activation"]].ref(np.array(out, np.float32)[None])
