"""Right but different: other ways to compute the same network, for accused.py.

    emulated(model, x, how) -> {node: output}

    fft             convolutions of stride 1 and 3x3 as products of spectra, complex64
    winograd2, 4    the same by F(2,3) and F(4,3) (Lavin and Gray 2015, section 4), float32
    flush           our own arithmetic, every subnormal output replaced by 0

They are written apart from those that evidence compares with (verification/algorithms.py), but for
the matrices of Winograd, which are published. folded_names says which node of an unfolded graph
has the output of a folded graph's node.
"""

import numpy as np

from refquant.engine.walk import run_node
from refquant.graph.graph import INPUT, Model, Node, array_of
from refquant.ops.activation import ACTIVATIONS
from refquant.verification.algorithms import TRANSFORMS
from refquant.verification.declared import UNDERFLOW

Arrays = dict[str, np.ndarray]
CHAIN = ("batch_norm", "silu", "leaky", "multiply_channel")


def fft(x: np.ndarray, w: np.ndarray, padding: int) -> np.ndarray:
    """A convolution of stride 1 by FFT in single precision."""
    sides = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    wide = np.pad(x, sides)
    H, W = wide.shape[2:]
    X = np.fft.rfft2(wide).astype(np.complex64)
    K = np.fft.rfft2(w[:, :, ::-1, ::-1], (H, W)).astype(np.complex64)
    y = np.fft.irfft2(np.einsum("nchw,fchw->nfhw", X, K), (H, W)).astype(np.float32)
    return y[:, :, w.shape[2] - 1 :, w.shape[3] - 1 :]


def winograd(x: np.ndarray, w: np.ndarray, m: int) -> np.ndarray:
    """F(m,3) for padding 1 and stride 1, in float32."""
    B, G, A = (np.array(matrix, np.float32) for matrix in TRANSFORMS[m])
    H, W = x.shape[2:]
    rows, columns = -(-H // m), -(-W // m)
    sides = ((0, 0), (0, 0), (1, 1 + rows * m - H), (1, 1 + columns * m - W))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, sides), (m + 2, m + 2), (2, 3))
    V = B @ windows[:, :, ::m, ::m] @ B.T
    M = np.einsum("fcij,ncpqij->nfpqij", G @ w @ G.T, V, optimize=True)
    y = (A @ M @ A.T).transpose(0, 1, 2, 4, 3, 5)
    return y.reshape(*y.shape[:2], rows * m, columns * m)[:, :, :H, :W]


def emulated(model: Model, x: np.ndarray, how: str) -> Arrays:
    """A forward pass in other arithmetic, every output kept."""
    outputs: Arrays = {INPUT: flushed(x) if how == "flush" else x}
    for node in model.nodes:
        inputs = [outputs[name] for name in node.inputs]
        y = convolved(node, inputs[0], how) if node.op == "conv" else run_node(node, inputs)
        outputs[node.name] = flushed(y) if how == "flush" else y
    return outputs


def flushed(y: np.ndarray) -> np.ndarray:
    return np.where(abs(y) < UNDERFLOW, np.float32(0), y)


def convolved(node: Node, x: np.ndarray, how: str) -> np.ndarray:
    """A convolution by another algorithm, or by ours where that one does not apply."""
    w = array_of(node.arrays["weight"]).astype(np.float32)
    stride, padding = node.attributes["stride"], node.attributes["padding"]
    if how == "flush" or w.shape[2:] != (3, 3) or stride != 1 or padding != 1:
        return run_node(node, [x])
    z = fft(x, w, padding) if how == "fft" else winograd(x, w, int(how[-1]))
    z = z + array_of(node.arrays["bias"])[:, None, None]
    return ACTIVATIONS[node.attributes["activation"]].ref(z.astype(np.float32))


def folded_names(model: Model, unfolded: Model) -> dict[str, str]:
    """For each node of the folded graph the node of the unfolded one that has its output.

    A folded node stands for a chain: follow the unfolded graph from its convolution (a RepConv:
    from the sum of its branches) to the last node before one with several readers or inputs.
    """
    readers: dict[str, list[Node]] = {}
    for node in unfolded.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    known = {node.name for node in unfolded.nodes}
    found = {}
    for node in model.nodes:
        name = node.name.replace(".rbr_reparam", ".add")
        while len(readers.get(name, ())) == 1 and readers[name][0].op in CHAIN:
            name = readers[name][0].name
        assert name in known, name
        found[node.name] = name
    return found
