"""A network: a model as one program of steps on maps in blocks, for one image size.

    image (3, H, W)  --copied-->  a planar map with a halo  --steps-->  predictions (rows, E)

The plan (plan.py) says where each map lies and in which order nodes run; here every node becomes
its steps (engine/steps.py), in the stem once per band:

    conv, max_pool, upsample     one step each; an addition of n maps n - 1 steps
                                 a pooling that a convolution's items do has none
    concat                       a copy per input that was not written in place, mostly none
    space_to_depth               of the image only: done in NumPy while the image is copied
    decode                       one step per level, which writes predictions
    a map with a halo            a border of zeros when it begins to live
    a band's last rows           copied away and back, where the next band reads them again

Layout is converted only at the two ends. `outputs` runs the same steps node by node, without
bands, and takes every map out of the arena as soon as it is whole, before anything is written
over it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.engine.blocked import LANES, Map, aligned, input_fields, output_fields, put, take
from refquant.engine.conv_step import (
    Constants,
    conv_constants,
    conv_step,
    scratch_for,
)
from refquant.engine.panels import PackedPanels, Panels
from refquant.engine.plan import WHOLE, Key, plan
from refquant.engine.steps import ADD, BORDER, COPY, DECODE, LINE, MAX_POOL, UPSAMPLE, step
from refquant.engine.strips import Windows
from refquant.graph.graph import INPUT, Model, Node, array_of
from refquant.graph.shapes import predictions_of
from refquant.ops.routing import space_to_depth

Steps = list[NDArray[np.void]]


def panels_in(node: Node) -> Panels | PackedPanels:
    """The weight of a convolution of a prepared model."""
    panels = node.arrays["weight"]
    assert isinstance(panels, Panels | PackedPanels), "prepare the model (engine.py)"
    return panels


class Network:
    """A prepared model (engine.py) for images of rows x columns pixels, on `threads` threads."""

    def __init__(
        self, model: Model, height: int, width: int, threads: int, *, in_bands: bool = True
    ) -> None:
        from refquant.engine.program import Program  # here, because it imports Numba

        self.model, self.threads = model, threads
        self.size = (height, width, threads, in_bands)
        self.plan = plan(model, height, width, in_bands=in_bands)
        self.keep: list[Any] = []  # arrays whose addresses are in the steps
        self.arena = aligned((self.plan.size,), np.uint8)
        start = self.arena.ctypes.data
        self.maps = {
            key: place._replace(address=place.address + start)
            for key, place in self.plan.maps.items()
        }
        self.constants: dict[str, Constants] = {}
        steps: Steps = []
        self.ends: list[int] = []  # of every position's steps in the program
        for position, (i, band) in enumerate(self.plan.order):
            node = model.nodes[i]
            steps += self.before(position) + getattr(self, node.op)(node, band)
            steps += self.after(position)
            self.ends.append(len(steps))
        scratch = max(self.scratch_of(node) for node in model.nodes)
        self.program = Program(steps, threads, scratch)

    def place(self, name: str, band: int, begin: int, rows: int) -> Map:
        """Where rows `begin` to begin + rows - 1 of a node's output lie."""
        key = self.plan.key(name, band)
        _, channel = self.plan.roots[name]
        first = begin - self.plan.rows[key].top
        channels = self.plan.shapes[name][0]
        return self.maps[key].from_row(first, rows).part(channel, channels)

    def whole(self, name: str) -> Map:
        """Where a node's output lies, outside of the stem."""
        return self.place(name, WHOLE, 0, self.plan.shapes[name][1])

    def window(self, node: Node, band: int, stride: int = 1) -> tuple[Map, list[Map]]:
        """Where the rows that a band computes lie, and of each input the rows that they need."""
        begin, end = 0, self.plan.shapes[node.name][1]
        if band != WHOLE:
            _, begin, end = self.plan.stem.rows[node.name][band]
        y = self.place(node.name, band, begin, end - begin)
        xs = []
        for name in node.inputs:
            first = begin * stride
            xs.append(self.place(name, band, first, self.plan.shapes[name][1] - first))
        return y, xs

    # ---- the steps of a node ----

    def before(self, position: int) -> Steps:
        """Borders of the maps that begin to live, and rows kept from the band before."""
        steps = []
        for key in self.keys(0, position):
            halo = self.plan.halos.get(key.root, 0)
            rows = self.plan.rows[key]
            held = self.maps[key].from_row(0, rows.end - rows.top)
            for name in self.plan.padded.get(key.root, ()):
                part = held.part(self.plan.roots[name][1], self.plan.shapes[name][0])
                steps.append(step(BORDER, part.blocks, **output_fields(part), padding=halo))
            kept = Key(key.root, key.band - 1, kept=True)
            if key.band > 0 and kept in self.maps:
                steps.append(copy_of(self.maps[kept], held.from_row(0, self.maps[kept].rows)))
        return steps

    def after(self, position: int) -> Steps:
        """Copies of rows that the next band reads again, when a band's map ceases to live."""
        steps = []
        for key in self.keys(1, position):
            kept = Key(key.root, key.band, kept=True)
            if kept in self.maps:
                first = self.plan.rows[kept].top - self.plan.rows[key].top
                rows = self.maps[key].from_row(first, self.maps[kept].rows)
                steps.append(copy_of(rows, self.maps[kept]))
        return steps

    def keys(self, end: int, position: int) -> list[Key]:
        """The maps that are born (end 0) or die (end 1) at a position; not those of kept rows."""
        lives = self.plan.lives.items()
        return [key for key, life in lives if life[end] == position and not key.kept]

    def conv(self, node: Node, band: int) -> Steps:
        attributes = node.attributes
        stride, padding, panels = attributes["stride"], attributes["padding"], panels_in(node)
        y, (x,) = self.window(node, band, stride)
        if y.rows == 0:
            return []
        if node.name not in self.constants:
            bias = array_of(node.arrays["bias"]) if "bias" in node.arrays else None
            self.constants[node.name] = conv_constants(x, panels, bias, padding)
        constants = self.constants[node.name]
        first = self.plan.stem.rows[node.name][band].begin if band != WHOLE else 0
        windows = Windows(x, y, panels.shape[2:], stride, padding, first, constants.whole)
        pooled = self.plan.pools.get(node.name)
        pool = self.pooling(pooled, band) if pooled else None
        activation = attributes["activation"]
        conv, items = conv_step(windows, panels, constants, self.threads, activation, pool)
        self.keep += [panels, items, pool]
        return [conv]

    def max_pool(self, node: Node, band: int) -> Steps:
        done = self.plan.pools.get(node.inputs[0]) is node
        return [] if done else [self.pooling(node, band)]

    def pooling(self, node: Node, band: int) -> NDArray[np.void]:
        """The step of a pooling; where a band has no row of it, its items do nothing."""
        y, (x,) = self.window(node, band, node.attributes["stride"])
        fields = {**input_fields(x), **output_fields(y), **node.attributes}
        return step(MAX_POOL, y.blocks, **fields)

    def upsample(self, node: Node, band: int) -> Steps:
        x, y = self.whole(node.inputs[0]), self.whole(node.name)
        return [copy_of(x, y, node.attributes["scale"])]

    def add(self, node: Node, band: int) -> Steps:
        y, (x, *others) = self.window(node, band)
        steps: Steps = []
        for z in others if y.rows else ():
            fields = {**input_fields(x), **output_fields(y)}
            fields |= {"z": z.address, "z_plane": z.plane, "z_row": z.row}
            steps.append(step(ADD, y.blocks, **fields))
            x = y
        return steps

    def concat(self, node: Node, band: int) -> Steps:
        y, xs = self.window(node, band)
        steps: Steps = []
        root, channel = self.plan.roots[node.name]
        first = 0
        for name, x in zip(node.inputs, xs, strict=True):
            if self.plan.roots[name] != (root, channel + first) and y.rows:
                fields = {**input_fields(x), **output_fields(y)}
                steps.append(step(COPY, x.channels, **fields, first_channel=first))
            first += x.channels
        return steps

    def space_to_depth(self, node: Node, band: int) -> Steps:
        return []

    def decode(self, node: Node, band: int) -> Steps:
        steps: Steps = []
        shapes = [self.plan.shapes[name] for name in node.inputs]
        self.rows, self.entries = predictions_of(node, shapes)
        self.levels, rows = [], 0
        anchors = np.ascontiguousarray(array_of(node.arrays["anchors"]), np.float32)
        self.keep.append(anchors)
        for name, level, stride in zip(
            node.inputs, anchors, node.attributes["strides"], strict=True
        ):
            x = self.whole(name)
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
        return steps

    def scratch_of(self, node: Node) -> int:
        """Bytes of scratch memory that a node's items need."""
        if node.op == "conv":
            return scratch_for(panels_in(node))
        if node.op == "max_pool":
            return node.attributes["kernel"] * self.plan.shapes[node.name][2] * LINE
        if node.op == "decode":
            return max(-(-self.plan.shapes[name][0] // LANES) for name in node.inputs) * LINE
        return 0

    # ---- running ----

    def begin(self, x: NDArray[np.float32], predictions: NDArray[np.float32]) -> None:
        """Take in an image x (3, H, W), and the array to which the decode will write."""
        for key, place in self.maps.items():
            if self.plan.lives[key][0] < 0:
                halo = self.plan.halos.get(key.root, 0)
                put(
                    x if key.root == INPUT else space_to_depth(x[None])[0], self.arena, place, halo
                )
        decodes = self.program.steps["kind"] == DECODE
        self.program.steps["y"][decodes] = predictions.ctypes.data + np.array(self.levels)

    def run(self, x: NDArray[np.float32], predictions: NDArray[np.float32]) -> None:
        """Predictions (rows, E) for an image x (3, H, W)."""
        self.begin(x, predictions)
        self.program.run()

    def outputs(self, x: NDArray[np.float32]) -> Iterator[tuple[Node, NDArray[np.float32]]]:
        """Every node with its output, (C, H, W) or (rows, E), for an image x (3, H, W)."""
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
                yield node, take(self.arena, self.whole(node.name))


def copy_of(x: Map, y: Map, scale: int = 1) -> NDArray[np.void]:
    """The step that upsamples x into y; by 1 it copies."""
    return step(UPSAMPLE, y.blocks, **input_fields(x), **output_fields(y), stride=scale)
