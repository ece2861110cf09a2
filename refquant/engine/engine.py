"""The engine: models on the fast kernels, ready to run again.

    prepared(model)      the model, its convolutions' weights in panels (engine/panels.py)
    run(model, x)        predictions (N, rows, E), nothing else looked at
    walk_fast(model, x)  every node with its output

Preparing costs about a second for YOLOv7 and holds a second copy of the weights, unless the
caller lets go of the first: keep `prepared(model)` in place of `model`; it is a model like any
other, whose weights decode to the same arrays.

Prepared models and networks (network.py) are kept, per model, for the image sizes met last. That
is a cache and not a state: dropping it changes only the time.
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
from refquant.engine.network import Network
from refquant.engine.panels import PackedPanels, Panels, panel_bytes, panels_of
from refquant.engine.tiles import tiles_for_this_cpu, vectors_for
from refquant.graph.graph import Model, Node, array_of
from refquant.ops.catalogue import OPS

Array = NDArray[np.float32]
# Networks kept per model; each has an arena, YOLOv7's at 640 x 640 35 MB, 79 for walks.
MOST_IDLE = 2


def prepared(model: Model) -> Model:
    """The model with every convolution's weight in panels; a prepared model stays as it is.

    It keeps the arrays that the operations use, not the magnitudes that serve verification
    (fold.py). `prepared(load_model(path))` holds the weights once: nobody else has the model, so
    each plain weight goes as soon as its panels are there.
    """
    rest, nodes = model.with_nodes(()), list(model.nodes)
    del model
    new = cutter(sum(map(room_for, nodes)))
    for i, node in enumerate(nodes):
        nodes[i] = prepared_node(node, new)
        del node
    return rest.with_nodes(tuple(nodes))


def room_for(node: Node) -> int:
    """Bytes of a convolution's panels in float32; what is not written of them takes no memory."""
    if node.op != "conv" or isinstance(node.arrays["weight"], Panels | PackedPanels):
        return 0
    shape = node.arrays["weight"].shape
    return panel_bytes(shape, vectors_for(shape[0], tiles_for_this_cpu()))


def prepared_node(node: Node, new: Callable[..., NDArray] = aligned) -> Node:
    """The node with the arrays of its operation, a convolution's weight in panels."""
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
    """A prepared model and its networks that nobody uses at the moment, the last used last."""

    def __init__(self, model: Model) -> None:
        self.model = prepared(model)
        self.idle: list[Network] = []
        self.lock = threading.Lock()

    @contextmanager
    def network(self, height: int, width: int, threads: int, in_bands: bool) -> Iterator[Network]:
        """Lend a network; no other thread gets it meanwhile."""
        network = self.idle_network((height, width, threads, in_bands))
        if network is None:
            network = Network(self.model, height, width, threads, in_bands=in_bands)
        yield network
        with self.lock:
            self.idle = [*self.idle, network][-MOST_IDLE:]

    def idle_network(self, size: tuple[int, int, int, bool]) -> Network | None:
        """Take an idle network of that size (height, width, threads, in bands)."""
        with self.lock:
            for i, network in enumerate(self.idle):
                if network.size == size:
                    return self.idle.pop(i)
        return None


_engines: dict[int, Engine] = {}
_making = threading.Lock()


def engine_of(model: Model) -> Engine:
    """The engine of a model, made when first asked for; it goes when the model goes.

    From then on the model's arrays are read-only.
    """
    key = id(model)
    with _making:
        if key not in _engines:
            for node in model.nodes:
                for array in node.arrays.values():
                    if isinstance(array, np.ndarray):
                        array.setflags(write=False)  # the engine would not see a change
            _engines[key] = Engine(model)
            weakref.finalize(model, _engines.pop, key, None)
        return _engines[key]


def run(model: Model, x: Array, *, threads: int = 1) -> Array:
    """Predictions (N, rows, E) of a model that `can_plan` accepts, for images x (N, 3, H, W)."""
    with engine_of(model).network(x.shape[2], x.shape[3], threads, True) as network:
        predictions = np.empty((len(x), network.rows, network.entries), np.float32)
        for image, of_image in zip(x, predictions):
            network.run(image, of_image)
        return predictions


def walk_fast(model: Model, x: Array, threads: int = 1) -> Iterator[tuple[Node, Array]]:
    """Every node with its output for all images, (N, ...); one network works per image."""
    with ExitStack() as stack:
        engine = engine_of(model)
        size = (x.shape[2], x.shape[3], threads, False)
        lent = [stack.enter_context(engine.network(*size)) for _ in x]
        together = zip(*(network.outputs(image) for network, image in zip(lent, x)))
        for node, outputs in zip(model.nodes, together, strict=True):
            yield node, np.stack([y for _, y in outputs]) if len(x) > 1 else outputs[0][1][None]
