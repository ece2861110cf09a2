"""A model made ready for one image size: an arena, and a program of steps on maps in it.

    image (3, H, W)  --copied-->  a planar map with a halo  --steps-->  predictions (rows, E)

The plan (plan.py) says where each map lies and in which order nodes run, those of the stem once
per band. Every node becomes its steps (node_steps.py), which the program runs (program.py).

Layout is converted only at the two ends. `outputs` runs the same steps node by node, without
bands, and copies every map out of the arena as soon as it is whole, before anything is written
over it.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from refquant.engine.blocked import aligned, put, take
from refquant.engine.node_steps import StepMaker, Steps
from refquant.engine.plan import plan
from refquant.engine.steps import DECODE, RECORDS
from refquant.graph.graph import INPUT, Model, Node
from refquant.graph.shapes import predictions_of
from refquant.ops.routing import space_to_depth


class SizedModel:
    """A prepared model (engine.py) for images of height x width pixels, on `threads` threads.

    rows, entries    the shape of its predictions
    ends             for every position in the plan's order, the end of its steps in the program
    """

    def __init__(
        self, model: Model, height: int, width: int, threads: int, *, in_bands: bool = True
    ) -> None:
        from refquant.engine.program import Program  # imported here, because that takes Numba

        self.model = model
        self.size = (height, width, threads, in_bands)
        placed = plan(model, height, width, in_bands=in_bands)
        self.arena = aligned((placed.size,), np.uint8)
        self.plan = placed.at(self.arena.ctypes.data)
        shapes = [self.plan.shapes[name] for name in model.head.inputs]
        self.rows, self.entries = predictions_of(model.head, shapes)
        maker = StepMaker(self.plan, threads)
        steps: Steps = []
        self.ends: list[int] = []
        for position, (i, band) in enumerate(self.plan.order):
            steps += maker.steps_at(position, model.nodes[i], band)
            self.ends.append(len(steps))
        self.keep = maker.keep
        self.program = Program(steps, threads, max(map(maker.scratch_of, model.nodes)))
        self.decodes = np.flatnonzero(self.program.steps["kind"] == DECODE)
        self.offsets = self.decode_steps["predictions"][self.decodes]

    @property
    def decode_steps(self) -> NDArray[np.void]:
        """All steps, with the fields of a decode."""
        return self.program.steps.view(RECORDS[DECODE])

    def begin(self, x: NDArray[np.float32], predictions: NDArray[np.float32]) -> None:
        """Take in an image x (3, H, W), and the array to which the decode will write."""
        for key, place in self.plan.maps.items():
            if self.plan.lives[key].born < 0:
                halo = self.plan.halos.get(key.root, 0)
                image = x if key.root == INPUT else space_to_depth(x[None])[0]
                put(image, self.arena, place, halo)
        self.decode_steps["predictions"][self.decodes] = predictions.ctypes.data + self.offsets

    def run(self, x: NDArray[np.float32], predictions: NDArray[np.float32]) -> None:
        """Write the predictions (rows, E) of an image x (3, H, W)."""
        self.begin(x, predictions)
        self.program.run()

    def outputs(self, x: NDArray[np.float32]) -> Iterator[tuple[Node, NDArray[np.float32]]]:
        """Yield every node with its output, (C, H, W) or (rows, E), for an image x (3, H, W)."""
        predictions = np.empty((self.rows, self.entries), np.float32)
        self.begin(x, predictions)
        begin = 0
        for node, end in zip(self.model.nodes, self.ends, strict=True):
            self.program.run(begin, end)
            begin = end
            if node.op == "decode":
                yield node, predictions
            elif node.op == "space_to_depth":
                yield node, space_to_depth(x[None])[0]
            else:
                yield node, take(self.arena, self.plan.whole(node.name))
