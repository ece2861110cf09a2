"""The steps of every node (steps.py), on the maps of a plan (plan.py).

    conv, max_pool, upsample     one step each; a pooling that a convolution does has none
    add                          n - 1 steps for n maps
    concat                       a copy for each input that was not written in place, mostly none
    space_to_depth               none: that of the image is done in NumPy, while it is copied
    decode                       one step per level, which writes predictions

Besides, a map with a halo has its border zeroed when it begins to live. A band's last rows are
copied away when its map ceases to live, and copied back to where the next band reads them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.engine.blocked import LANES, PlacedMap, address_fields, size_fields
from refquant.engine.conv_step import Constants, conv_constants, conv_step, scratch_for
from refquant.engine.lives import WHOLE, Key
from refquant.engine.panels import PackedPanels, Panels
from refquant.engine.plan import Plan
from refquant.engine.steps import ADD, BORDER, COPY, DECODE, LINE, MAX_POOL, UPSAMPLE, step
from refquant.engine.strips import Windows
from refquant.graph.graph import Node, array_of
from refquant.graph.shapes import predictions_of

Steps = list[NDArray[np.void]]


class StepMaker:
    """Makes the steps of the nodes of a prepared model, for `threads` threads.

    `plan` has addresses in an arena. `keep` holds the arrays to which the steps point: whoever
    runs the steps keeps it. The method of an operation has its name in OPS, and takes a node and
    the band in which it runs, or WHOLE.
    """

    def __init__(self, plan: Plan, threads: int) -> None:
        self.plan, self.threads = plan, threads
        self.keep: list[Any] = []
        self.constants: dict[str, Constants] = {}

    def steps_at(self, position: int, node: Node, band: int) -> Steps:
        """All steps of a position in the plan's order, at which the node runs in that band."""
        of_node: Steps = getattr(self, node.op)(node, band)
        return [*self.before(position), *of_node, *self.after(position)]

    def before(self, position: int) -> Steps:
        """The borders of the maps that are born, and the rows kept from the band before."""
        plan, steps = self.plan, []
        for key in self.written_maps():
            if plan.lives[key].born != position:
                continue
            rows = plan.rows[key]
            held = plan.maps[key].from_row(0, rows.end - rows.top)
            for name in plan.padded.get(key.root, ()):
                part = held.part(plan.roots[name][1], plan.shapes[name][0])
                steps.append(border_of(part, plan.halos[key.root]))
            kept = Key(key.root, key.band - 1, kept=True)
            if key.band > 0 and kept in plan.maps:
                steps.append(copy_of(plan.maps[kept], held.from_row(0, plan.maps[kept].rows)))
        return steps

    def after(self, position: int) -> Steps:
        """Copies of the rows that the next band reads again, out of the maps that die."""
        plan, steps = self.plan, []
        for key in self.written_maps():
            kept = Key(key.root, key.band, kept=True)
            if plan.lives[key].dies == position and kept in plan.maps:
                first = plan.rows[kept].top - plan.rows[key].top
                rows = plan.maps[key].from_row(first, plan.maps[kept].rows)
                steps.append(copy_of(rows, plan.maps[kept]))
        return steps

    def written_maps(self) -> list[Key]:
        """All maps that nodes write, in bands or whole, and not the rows kept after a band."""
        return [key for key in self.plan.lives if not key.kept]

    def conv(self, node: Node, band: int) -> Steps:
        stride, padding = node.attributes["stride"], node.attributes["padding"]
        activation, panels = node.attributes["activation"], panels_in(node)
        y, (x,) = self.plan.window(node, band, stride)
        if y.rows == 0:
            return []
        if node.name not in self.constants:
            bias = array_of(node.arrays["bias"]) if "bias" in node.arrays else None
            self.constants[node.name] = conv_constants(x, panels, bias, padding)
        constants = self.constants[node.name]
        first = self.plan.stem.rows[node.name][band].begin if band != WHOLE else 0
        windows = Windows(x, y, panels.shape[2:], stride, padding, first, constants.all_taps)
        pooled = self.plan.pools.get(node.name)
        pool = self.pooling(pooled, band) if pooled else None
        conv, items = conv_step(windows, panels, constants, self.threads, activation, pool)
        self.keep += [panels, constants, items, pool]
        return [conv]

    def max_pool(self, node: Node, band: int) -> Steps:
        done = self.plan.pools.get(node.inputs[0]) is node
        return [] if done else [self.pooling(node, band)]

    def pooling(self, node: Node, band: int) -> NDArray[np.void]:
        """The step of a pooling; where a band has no row of it, its items do nothing."""
        y, (x,) = self.plan.window(node, band, node.attributes["stride"])
        fields = address_fields("x", x) | address_fields("y", y) | size_fields(y)
        inputs = {"input_rows": x.rows, "input_columns": x.columns}
        return step(MAX_POOL, y.blocks, **fields, **inputs, **node.attributes)

    def upsample(self, node: Node, band: int) -> Steps:
        x, y = self.plan.whole(node.inputs[0]), self.plan.whole(node.name)
        return [copy_of(x, y, node.attributes["scale"])]

    def add(self, node: Node, band: int) -> Steps:
        y, (x, *others) = self.plan.window(node, band)
        steps: Steps = []
        for z in others if y.rows else ():
            maps = address_fields("x", x) | address_fields("y", y) | address_fields("z", z)
            steps.append(step(ADD, y.blocks, **maps, **size_fields(y)))
            x = y
        return steps

    def concat(self, node: Node, band: int) -> Steps:
        y, xs = self.plan.window(node, band)
        steps: Steps = []
        root, channel = self.plan.roots[node.name]
        first = 0
        for name, x in zip(node.inputs, xs, strict=True):
            if self.plan.roots[name] != (root, channel + first) and y.rows:
                fields = address_fields("x", x) | address_fields("y", y) | size_fields(y)
                of_copy = {"x_pixel": x.pixel, "first_channel": first}
                steps.append(step(COPY, x.channels, **fields, **of_copy))
            first += x.channels
        return steps

    def space_to_depth(self, node: Node, band: int) -> Steps:
        return []

    def decode(self, node: Node, band: int) -> Steps:
        """The steps of all levels; `predictions` counts from the array's start as yet."""
        steps: Steps = []
        _, entries = predictions_of(node, [self.plan.shapes[name] for name in node.inputs])
        anchors = np.ascontiguousarray(array_of(node.arrays["anchors"]), np.float32)
        self.keep.append(anchors)
        rows = 0
        levels = zip(node.inputs, anchors, node.attributes["strides"], strict=True)
        for name, of_level, stride in levels:
            x = self.plan.whole(name)
            fields = (
                address_fields("x", x)
                | size_fields(x)
                | {
                    "blocks": x.blocks,
                    "anchors": of_level.ctypes.data,
                    "anchor_count": len(of_level),
                    "entries": entries,
                    "predictions": 4 * rows * entries,
                    "stride": stride,
                }
            )
            steps.append(step(DECODE, x.rows, **fields))
            rows += len(of_level) * x.rows * x.columns
        return steps

    def scratch_of(self, node: Node) -> int:
        """The bytes of scratch memory that a node's items need."""
        if node.op == "conv":
            return scratch_for(panels_in(node))
        if node.op == "max_pool":
            return node.attributes["kernel"] * self.plan.shapes[node.name][2] * LINE
        if node.op == "decode":
            return max(-(-self.plan.shapes[name][0] // LANES) for name in node.inputs) * LINE
        return 0


def panels_in(node: Node) -> Panels | PackedPanels:
    """The weight of a convolution of a prepared model."""
    panels = node.arrays["weight"]
    assert isinstance(panels, Panels | PackedPanels), "prepare the model (engine.py)"
    return panels


def copy_of(x: PlacedMap, y: PlacedMap, scale: int = 1) -> NDArray[np.void]:
    """The step that upsamples x into y; by a scale of 1 it copies."""
    fields = address_fields("x", x) | address_fields("y", y) | size_fields(y)
    return step(UPSAMPLE, y.blocks, **fields, scale=scale)


def border_of(y: PlacedMap, halo: int) -> NDArray[np.void]:
    """The step that writes zeros into the halo of y."""
    return step(BORDER, y.blocks, **address_fields("y", y), rows=y.rows, halo=halo)
