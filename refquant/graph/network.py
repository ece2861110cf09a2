"""A network: a model as one program of steps on maps in blocks, for one image size.

    image (3, H, W)  --copied-->  a planar map with a halo  --steps-->  predictions (rows, E)

The plan (plan.py) says where each map lies; here every node becomes its steps (ops/steps.py):

    conv              a border where its output has a halo, then the convolution
    max_pool, upsample, add      one step, an addition of n maps n - 1 steps
    concat            a copy per input that was not written in place, mostly none
    space_to_depth    of the image only: done in NumPy while the image is copied
    decode            one step per level, which writes predictions

Layout is converted only at the two ends. `outputs` runs the same steps node by node and takes
every map out of the arena as soon as it is whole, before anything may be written over it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import INPUT, Model, Node, array_of
from refquant.graph.plan import plan
from refquant.ops.blocked import LINE, Map, aligned, inside, put, take
from refquant.ops.conv_fast import (
    conv_constants,
    conv_step,
    input_fields,
    output_fields,
    scratch_for,
)
from refquant.ops.panels import PackedPanels, Panels
from refquant.ops.routing import space_to_depth
from refquant.ops.steps import ADD, BORDER, COPY, DECODE, MAX_POOL, UPSAMPLE, step

Steps = list[NDArray[np.void]]


def panels_in(node: Node) -> Panels | PackedPanels:
    """The weight of a convolution of a prepared model."""
    panels = node.arrays["weight"]
    assert isinstance(panels, Panels | PackedPanels), "prepare the model (engine.py)"
    return panels


class Network:
    """A prepared model (engine.py) for images of rows x columns pixels, on `threads` threads."""

    def __init__(self, model: Model, rows: int, columns: int, threads: int) -> None:
        from refquant.ops.program import Program  # here, because it imports Numba

        self.model, self.threads = model, threads
        self.size = (rows, columns, threads)
        self.plan = plan(model, rows, columns)
        self.keep: list[Any] = []
        self.arena = aligned((self.plan.size,), np.uint8)
        self.images = {name: self.planar(name) for name in self.plan.planar}
        start = self.arena.ctypes.data
        self.maps: dict[str, Map] = {name: place for name, (place, _) in self.images.items()}
        for name, place in self.plan.places.items():
            self.maps[name] = place._replace(address=place.address + start)
        self.ends: list[int] = []  # of every node's steps in the program
        steps: Steps = []
        scratch = 0
        for i, node in enumerate(model.nodes):
            steps += self.borders(i) + getattr(self, node.op)(node)
            self.ends.append(len(steps))
            scratch = max(scratch, self.scratch_of(node))
        self.program = Program(steps, threads, scratch)

    def planar(self, name: str) -> tuple[Map, NDArray[np.uint8]]:
        """A planar map with a halo of zeros for the image, and its memory."""
        C, H, W = self.plan.shapes[name]
        halo = self.plan.halos.get(name, 0)
        memory = aligned((inside(0, C, H, W, halo, lanes=1).plane * C,), np.uint8)
        return inside(memory.ctypes.data, C, H, W, halo, lanes=1), memory

    # ---- the steps of a node ----

    def borders(self, i: int) -> Steps:
        """Steps that zero the halo of the maps that node i begins to write."""
        return [
            step(
                BORDER,
                self.maps[name].blocks,
                **output_fields(self.maps[name]),
                padding=self.plan.halos[name],
            )
            for name, (born, _) in self.plan.lives.items()
            if born == i and name in self.plan.halos
        ]

    def conv(self, node: Node) -> Steps:
        x, y, panels = self.maps[node.inputs[0]], self.maps[node.name], panels_in(node)
        bias = array_of(node.arrays["bias"]) if "bias" in node.arrays else None
        attributes = dict(node.attributes)
        constants = conv_constants(x, panels, bias, attributes.pop("padding"))
        self.keep += [panels, constants]
        return [conv_step(x, y, panels, constants, threads=self.threads, **attributes)]

    def max_pool(self, node: Node) -> Steps:
        x, y = self.maps[node.inputs[0]], self.maps[node.name]
        fields = {**input_fields(x), **output_fields(y), **node.attributes}
        return [step(MAX_POOL, y.blocks, **fields)]

    def upsample(self, node: Node) -> Steps:
        x, y = self.maps[node.inputs[0]], self.maps[node.name]
        scale = node.attributes["scale"]
        return [step(UPSAMPLE, y.blocks, **input_fields(x), **output_fields(y), stride=scale)]

    def add(self, node: Node) -> Steps:
        y = self.maps[node.name]
        steps, x = [], self.maps[node.inputs[0]]
        for name in node.inputs[1:]:
            z = self.maps[name]
            fields = {**input_fields(x), **output_fields(y)}
            steps.append(step(ADD, y.blocks, **fields, z=z.address, z_plane=z.plane, z_row=z.row))
            x = y
        return steps

    def concat(self, node: Node) -> Steps:
        steps, y, channel = [], self.maps[node.name], 0
        for name in node.inputs:
            x = self.maps[name]
            if self.plan.parts.get(name) != (node.name, channel):
                fields = {**input_fields(x), **output_fields(y)}
                steps.append(step(COPY, x.channels, **fields, first_channel=channel))
            channel += x.channels
        return steps

    def space_to_depth(self, node: Node) -> Steps:
        return []

    def decode(self, node: Node) -> Steps:
        steps, self.levels, rows = [], [], 0
        anchors = np.ascontiguousarray(array_of(node.arrays["anchors"]), np.float32)
        self.keep.append(anchors)
        for name, level, stride in zip(
            node.inputs, anchors, node.attributes["strides"], strict=True
        ):
            x = self.maps[name]
            self.entries = x.channels // len(level)
            self.levels.append(4 * rows * self.entries)  # where y is, in the predictions
            fields = input_fields(x) | {
                "rows": x.rows,
                "columns": x.columns,
                "blocks": x.blocks,
                "groups": len(level),
                "entries": self.entries,
                "anchors": level.ctypes.data,
                "stride": stride,
            }
            steps.append(step(DECODE, x.rows, **fields))
            rows += len(level) * x.rows * x.columns
        self.rows = rows
        return steps

    def scratch_of(self, node: Node) -> int:
        """Bytes of scratch memory that a node's items need."""
        if node.op == "conv":
            return scratch_for(panels_in(node))
        if node.op == "max_pool":
            return node.attributes["kernel"] * self.maps[node.name].columns * LINE
        if node.op == "decode":
            return max(self.maps[name].blocks for name in node.inputs) * LINE
        return 0

    # ---- running ----

    def begin(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take in an image (3, H, W); the array to which the decode will write predictions."""
        for name, (place, memory) in self.images.items():
            put(x if name == INPUT else space_to_depth(x[None])[0], memory, place)
        predictions = np.empty((self.rows, self.entries), np.float32)
        decodes = self.program.steps[self.program.steps["kind"] == DECODE]
        decodes["y"] = predictions.ctypes.data + np.array(self.levels)
        self.program.steps[self.program.steps["kind"] == DECODE] = decodes
        return predictions

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (rows, E) for an image (3, H, W)."""
        predictions = self.begin(x)
        self.program.run()
        return predictions

    def outputs(self, x: NDArray[np.float32]) -> Iterator[tuple[Node, NDArray[np.float32]]]:
        """Every node with its output, (C, H, W) or (rows, E), for an image x (3, H, W)."""
        predictions = self.begin(x)
        begin = 0
        for node, end in zip(self.model.nodes, self.ends, strict=True):
            self.program.run(begin, end)
            begin = end
            if node.op == "decode":
                yield node, predictions
            elif node.op == "space_to_depth":
                yield node, space_to_depth(x[None])[0]
            else:
                yield node, take(self.arena, self.maps[node.name])
