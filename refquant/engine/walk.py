"""`walk(model, x)`: run a model and yield every node with its output.

    for node, y in walk(model, x):        x (N, 3, H, W) float32, RGB in [0, 1]
        ...                               y is the node's output, NCHW

Whatever looks at single nodes is a consumer of this generator: a golden file records all of them,
and verification compares each. Detection takes the last output alone, which `run` gives. An output
is dropped as soon as no later node needs it, so memory stays near what the widest place of the
model takes.

There are three arithmetics:
    fast    is float32 by the compiled kernels, with the bits of `ref`
    ref     is float32 by NumPy alone, slowly; it is the definition of every bit
    math    is float64 by the equations; it is the oracle for errors
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
    """Run a model and yield every node with its output, in order of execution.

    Whoever takes the outputs one by one and lets go of them needs little more memory than the
    widest place of the model takes. The arithmetics "fast" and "ref" give the same bits, on every
    CPU and with any number of threads.

    Parameters
    ----------
    model : Model
        What `load_model`, `quantize_model` or a build from an architecture gives, folded or not.
    x : ndarray of float32, shape (N, 3, H, W)
        Images as RGB in [0, 1]. H and W are multiples of ``model.stride``, in pixels; a letterbox
        makes them so.
    arithmetic : {"fast", "ref", "math"}, default "fast"
        "fast" is float32 by compiled kernels. "ref" is float32 by NumPy alone: the definition of
        every bit, and slow. "math" is float64 by the equations.
    threads : int, default 1
        How many threads compute at once, 1 to 1024. Only "fast" has a use for more than one.

    Yields
    ------
    node : Node
        The node, with its `name` from the checkpoint, its operation `op` and its arrays.
    y : ndarray of float32, shape (N, C, P, Q)
        Its output, which the caller may keep; it is float64 if `arithmetic` is "math". That of the
        last node are the predictions (N, rows, 5 + classes): centre x, centre y, width and height
        in pixels of x, objectness, and the classes' scores.

    Raises
    ------
    BadInput
        If x is not an array of that shape, or if there is no such arithmetic or number of threads.

    Notes
    -----
    The equations and the order of every sum stand in the files of ``refquant.ops``; that of a
    convolution is in ``refquant.ops.conv``. Where compiled kernels run the whole model, its arrays
    become read-only, because the kernels have a copy of the weights in an order of their own.

    Examples
    --------
    >>> import numpy as np
    >>> from refquant import load_model, walk
    >>> model = load_model("demo")
    >>> x = np.full((1, 3, 64, 64), 0.5, np.float32)
    >>> for node, y in walk(model, x):
    ...     if node.op in ("upsample", "decode"):
    ...         print(node.name, y.shape, y.dtype)
    model.53 (1, 32, 4, 4) float32
    model.65 (1, 16, 8, 8) float32
    model.105.decode (1, 252, 13) float32

    The last output is the predictions, and the arithmetic by definition gives the same bits:

    >>> centre_x, centre_y, width, height, objectness = y[0, 0, :5].tolist()
    >>> round(centre_x, 4), round(width, 4)
    (6.9568, 23.5414)
    >>> for node, by_definition in walk(model, x, arithmetic="ref"):
    ...     pass
    >>> np.array_equal(y, by_definition)
    True
    """
    check_arguments(model, x, arithmetic, threads)
    if arithmetic == "fast" and can_plan(model):
        from refquant.engine.engine import walk_fast

        yield from walk_fast(model, np.asarray(x, np.float32), threads)
        return
    yield from walk_node_by_node(model, x, arithmetic, threads)


def run(
    model: Model, x: NDArray[Any], *, arithmetic: str = "fast", threads: int = 1
) -> NDArray[Any]:
    """The predictions (N, rows, E) alone: the last output of `walk`, without the others' cost."""
    check_arguments(model, x, arithmetic, threads)
    if arithmetic == "fast" and can_plan(model):
        from refquant.engine import engine

        return engine.run(model, np.asarray(x, np.float32), threads=threads)
    for _, y in walk_node_by_node(model, x, arithmetic, threads):
        last = y  # only the last is kept, since all of them would take gigabytes
    return last


def walk_node_by_node(
    model: Model, x: NDArray[Any], arithmetic: str, threads: int
) -> Iterator[tuple[Node, NDArray[Any]]]:
    """Walk through any graph in any arithmetic, on plain arrays."""
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
    """Refuse an arithmetic that does not exist, and a number of threads that cannot be."""
    if arithmetic not in ARITHMETICS:
        raise BadInput(f"arithmetic={arithmetic!r}", f"choose {' | '.join(ARITHMETICS)}")
    if not isinstance(threads, int | np.integer) or not 1 <= threads <= MOST_THREADS:
        raise BadInput(f"threads={threads!r}", f"choose 1 ... {MOST_THREADS}")


def check_input(model: Model, x: NDArray[Any]) -> None:
    """Refuse an input that no model of this family takes."""
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
