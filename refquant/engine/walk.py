"""`walk(model, x)`: run a model and yield every node with its output.

    for node, y in walk(model, x):        x (N, 3, H, W) float32, RGB in [0, 1]
        ...                               y the node's output, NCHW

Whatever looks at single nodes is a consumer of this generator: a golden file records all of them,
verification compares each. Detection takes the last output alone, which `run` gives. An output is
dropped as soon as no later node needs it, so memory stays near that of the widest place of the
network.

Arithmetic, by name:
    fast    float32, the compiled kernels: the bits of `ref`
    ref     float32, the definition of every bit, NumPy alone, slow
    math    float64, the equations; the oracle for errors
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.engine.fast import FAST
from refquant.engine.plan import can_plan
from refquant.engine.subnormals import warn_if_flushed
from refquant.graph.graph import INPUT, Model, Node, array_of
from refquant.ops.catalogue import OPS

ARITHMETICS = ("fast", "ref", "math")
MOST_THREADS = 1024


def walk(
    model: Model, x: NDArray[Any], *, arithmetic: str = "fast", threads: int = 1
) -> Iterator[tuple[Node, NDArray[Any]]]:
    """Yield (node, output) in order of execution. Outputs do not depend on `threads`."""
    check_arguments(model, x, arithmetic, threads)
    if arithmetic == "fast" and can_plan(model):
        from refquant.engine.engine import walk_fast

        yield from walk_fast(model, np.asarray(x, np.float32), threads)
        return
    yield from walk_node_by_node(model, x, arithmetic, threads)


def run(
    model: Model, x: NDArray[Any], *, arithmetic: str = "fast", threads: int = 1
) -> NDArray[Any]:
    """The last output alone, predictions (N, rows, E): walk's, without the cost of looking."""
    check_arguments(model, x, arithmetic, threads)
    if arithmetic == "fast" and can_plan(model):
        from refquant.engine import engine

        return engine.run(model, np.asarray(x, np.float32), threads=threads)
    for _, y in walk_node_by_node(model, x, arithmetic, threads):
        last = y  # that one alone: all of them would take gigabytes
    return last


def walk_node_by_node(
    model: Model, x: NDArray[Any], arithmetic: str, threads: int
) -> Iterator[tuple[Node, NDArray[Any]]]:
    """Any graph in any arithmetic, on plain arrays."""
    last_use = {name: i for i, node in enumerate(model.nodes) for name in node.inputs}
    outputs = {INPUT: np.asarray(x, np.float64 if arithmetic == "math" else np.float32)}
    for i, node in enumerate(model.nodes):
        y = run_node(node, [outputs[name] for name in node.inputs], arithmetic, threads)
        outputs[node.name] = y
        for name in set(node.inputs):
            if last_use[name] == i:
                del outputs[name]
        if node.name not in last_use:
            del outputs[node.name]
        yield node, y


def run_node(
    node: Node, inputs: list[NDArray[Any]], arithmetic: str = "fast", threads: int = 1
) -> NDArray[Any]:
    """The output of one node from its inputs."""
    op = OPS[node.op]
    arrays = {name: array_of(node.arrays[name]) for name in op.arrays if name in node.arrays}
    if arithmetic != "fast":
        return getattr(op, arithmetic)(*inputs, **arrays, **node.attributes)
    options = {"threads": threads} if op.name == "conv" else {}
    return FAST[op.name](*inputs, **arrays, **node.attributes, **options)


def check_arguments(model: Model, x: NDArray[Any], arithmetic: str, threads: int) -> None:
    """Refuse what cannot be run, and warn where the CPU would change bits."""
    check_way(arithmetic, threads)
    check_input(model, x)
    warn_if_flushed()


def check_way(arithmetic: str, threads: int) -> None:
    """Refuse an arithmetic that there is not, and a number of threads that there cannot be."""
    if arithmetic not in ARITHMETICS:
        raise BadInput(f"arithmetic={arithmetic!r}", f"choose {' | '.join(ARITHMETICS)}")
    if not isinstance(threads, int | np.integer) or not 1 <= threads <= MOST_THREADS:
        raise BadInput(f"threads={threads!r}", f"choose 1 ... {MOST_THREADS}")


def check_input(model: Model, x: NDArray[Any]) -> None:
    """Refuse an input that no network of this family takes."""
    if not isinstance(x, np.ndarray):
        raise BadInput("x", f"{type(x).__name__} is no array", "give (N, 3, H, W) float32")
    if x.ndim != 4 or x.shape[0] < 1 or x.shape[1] != 3:
        raise BadInput("x", f"shape {x.shape} is not (N, 3, H, W)")
    if any(side < model.stride or side % model.stride for side in x.shape[2:]):
        raise BadInput(
            "x",
            f"height and width {x.shape[2:]} are not multiples of {model.stride}",
            "letterbox the image first",
        )
