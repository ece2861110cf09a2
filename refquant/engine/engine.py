"""The engine: models on the fast kernels, ready to run again.

    prepared(model)      the model with its convolutions' weights in panels (panels.py)
    run(model, x)        its predictions (N, rows, E), and nothing else
    walk_fast(model, x)  every node with its output

To prepare YOLOv7 costs about a second and a second copy of the weights, unless the caller lets go
of the first. So keep `prepared(model)` in place of `model`: it is a model like any other, and its
weights decode to the same arrays.

What was made ready for a model is kept: the prepared model, and sized models (sized_model.py) for
the image sizes that were met last. That is a cache and not a state: without it only the time
would change.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.packed import PackedWeights
from refquant.engine.blocked import aligned, cutter
from refquant.engine.panels import PackedPanels, Panels, panel_bytes, panels_of
from refquant.engine.sized_model import SizedModel
from refquant.engine.tiles import tiles_for_this_cpu, vectors_for
from refquant.graph.graph import Model, Node, array_of
from refquant.ops.catalogue import OPS

Array = NDArray[np.float32]
# So many sized models are kept per model. Each has an arena: 35 MB for YOLOv7 at 640 x 640, and 79
# for walks.
MOST_IDLE = 2


def prepared(model: Model) -> Model:
    """The model with every convolution's weight in panels; a prepared model stays as it is.

    It keeps the arrays that the operations use, and not the magnitudes that serve verification
    (fold.py). `prepared(load_model(path))` holds the weights only once: since nobody else has the
    model, each plain weight goes as soon as its panels are there.
    """
    rest, nodes = model.with_nodes(()), list(model.nodes)
    del model
    new = cutter(sum(map(room_for, nodes)))
    for i, node in enumerate(nodes):
        nodes[i] = prepared_node(node, new)
        del node
    return rest.with_nodes(tuple(nodes))


def room_for(node: Node) -> int:
    """The bytes of a convolution's panels in float32; unwritten ones take no memory."""
    if node.op != "conv" or isinstance(node.arrays["weight"], Panels | PackedPanels):
        return 0
    shape = node.arrays["weight"].shape
    return panel_bytes(shape, vectors_for(shape[0], tiles_for_this_cpu()))


def prepared_node(node: Node, new: Callable[..., NDArray] = aligned) -> Node:
    """The node with the arrays of its operation, and a convolution's weight in panels."""
    arrays = {name: node.arrays[name] for name in OPS[node.op].arrays if name in node.arrays}
    if node.op == "conv" and not isinstance(arrays["weight"], Panels | PackedPanels):
        vectors = vectors_for(arrays["weight"].shape[0], tiles_for_this_cpu())
        arrays["weight"] = panels_of(weight_to_pack(arrays["weight"]), vectors, new)
    return replace(node, arrays=arrays)


def weight_to_pack(weight: Any) -> NDArray[np.float32] | PackedWeights:
    """A node's weight as something that panels are made of; quantized weights stay packed."""
    if isinstance(weight, np.ndarray | PackedWeights):
        return weight
    if hasattr(weight, "packed"):
        packed: PackedWeights = weight.packed()
        return packed
    return array_of(weight)


class Engine:
    """A prepared model, and its sized models that nobody uses now, in the order of last use."""

    def __init__(self, model: Model) -> None:
        self.model = prepared(model)
        self.idle: list[SizedModel] = []
        self.lock = threading.Lock()

    @contextmanager
    def sized(self, height: int, width: int, threads: int, in_bands: bool) -> Iterator[SizedModel]:
        """Lend the model for that size; no other thread gets the same one meanwhile."""
        lent = self.take_idle((height, width, threads, in_bands))
        if lent is None:
            lent = SizedModel(self.model, height, width, threads, in_bands=in_bands)
        yield lent
        with self.lock:
            self.idle = [*self.idle, lent][-MOST_IDLE:]

    def take_idle(self, size: tuple[int, int, int, bool]) -> SizedModel | None:
        """Take an idle one of that size (height, width, threads, in bands), if there is one."""
        with self.lock:
            for i, idle in enumerate(self.idle):
                if idle.size == size:
                    return self.idle.pop(i)
        return None


_engines: dict[int, Engine] = {}
_making = threading.Lock()


def engine_of(model: Model) -> Engine:
    """The engine of a model, which is made when it is first asked for and goes with the model.

    From then on the model's arrays are read-only, because the engine would not see a change.
    """
    key = id(model)
    with _making:
        if key not in _engines:
            for node in model.nodes:
                for array in node.arrays.values():
                    if isinstance(array, np.ndarray):
                        array.setflags(write=False)
            _engines[key] = Engine(model)
            weakref.finalize(model, _engines.pop, key, None)
        return _engines[key]


def run(model: Model, x: Array, *, threads: int = 1) -> Array:
    """The predictions (N, rows, E) of a model that `can_plan` accepts, for x (N, 3, H, W)."""
    with engine_of(model).sized(x.shape[2], x.shape[3], threads, True) as sized:
        predictions = np.empty((len(x), sized.rows, sized.entries), np.float32)
        for image, of_image in zip(x, predictions):
            sized.run(image, of_image)
        return predictions


def walk_fast(model: Model, x: Array, threads: int = 1) -> Iterator[tuple[Node, Array]]:
    """Yield every node with its output for all images, (N, ...); each has a sized model."""
    with ExitStack() as stack:
        engine = engine_of(model)
        size = (x.shape[2], x.shape[3], threads, False)
        lent = [stack.enter_context(engine.sized(*size)) for _ in x]
        together = zip(*(sized.outputs(image) for sized, image in zip(lent, x)))
        for node, outputs in zip(model.nodes, together, strict=True):
            yield node, np.stack([y for _, y in outputs]) if len(x) > 1 else outputs[0][1][None]
