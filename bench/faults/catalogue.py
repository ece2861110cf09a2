"""The faults of found.py: what is done to which graph, and what it must be called."""

from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from bench.faults import decode as d
from bench.faults import graphs as g
from bench.faults import images as i
from bench.faults import narrow as t
from bench.faults import sources as s
from bench.faults.fresh import FRESH

FOLDED, UNFOLDED, QUANTIZED = "folded", "unfolded", "4-bit weights"


class Fault(NamedTuple):
    """`cause` is the catalogue's name for it, None for what is no usual mistake; fresh ones are
    not of the list that the catalogue was made with."""

    form: str
    kind: str
    cause: str | None
    change: g.Change
    fresh: bool = False


def folded(kind: str, cause: str, change: g.Change) -> Fault:
    return Fault(FOLDED, kind, cause, change)


def unfolded(kind: str, cause: str, change: g.Change) -> Fault:
    return Fault(UNFOLDED, kind, cause, change)


def quantized(kind: str, cause: str, change: g.Change) -> Fault:
    return Fault(QUANTIZED, kind, cause, change)


FAULTS: tuple[Fault, ...] = (
    folded("bias set to 0", "bias missing", g.bias(lambda b: 0 * b)),
    folded("bias times 2", "bias doubled", g.bias(lambda b: 2 * b)),
    folded("bias of the next filter", "bias of other filters", g.bias(lambda b: np.roll(b, -1))),
    folded("bias times -1", "bias subtracted", g.bias(lambda b: -b)),
    folded("activation removed", "activation missing", g.activation(g.node("Identity"))),
    folded("Relu", "ReLU for the activation", g.activation(g.node("Relu"))),
    folded("HardSwish", "another activation", g.activation(g.node("HardSwish"))),
    folded("LeakyRelu 0.1 for SiLU", "another activation", g.leaky_for_silu),
    folded("LeakyRelu 0.2 for 0.1", "wrong slope of LeakyReLU", g.other_slope),
    folded("activation twice", "activation applied twice", g.twice),
    folded("kernel rotated", "kernel flipped", g.reweighted(lambda w: w[:, :, ::-1, ::-1])),
    folded("kernel transposed", "kernel transposed", g.reweighted(lambda w: w.swapaxes(2, 3))),
    folded(
        "F and C swapped", "filters and channels exchanged",
        g.reweighted(lambda w: w.swapaxes(0, 1)),
    ),
    folded("HWIO read as OIHW", "weight read in another layout", g.reweighted(g.hwio)),
    folded(
        "pads 0,0,1,1 at stride 2", "stride phase or asymmetric padding",
        g.pads(lambda p: [p[0] - 1, p[1] - 1, p[2] + 1, p[3] + 1], 2),
    ),
    folded(
        "pads 2,1,0,1", "padding off by one", g.pads(lambda p: [p[0] + 1, p[1], p[2] - 1, p[3]], 1)
    ),
    folded("edge padding", "border not padded with zeros", g.edge_padding),
    folded(
        "input channels reversed", "input channels reversed or exchanged",
        g.reweighted(lambda w: w[:, ::-1]),
    ),
    folded("filters reversed", "output channels in another order", g.filters_reversed),
    folded("concat swapped", "concat order", g.concat_swapped),
    folded("concat input twice", "one input of the concat taken twice", g.input_twice),
    folded(
        "linear resize", "upsampling bilinear for nearest",
        g.resize(mode="linear", coordinate_transformation_mode="half_pixel"),
    ),
    folded(
        "nearest, rounded up", "upsampling shifted by a half pixel",
        g.resize(
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="ceil"
        ),
    ),
    folded("pool padded with 0", "pooling padded with 0 for -inf", g.pool_zero),
    folded("pool of 3", "pooling window of another size", g.pool_smaller),
    folded("pool left out", "pooling without a window", g.pool_left_out),
    folded("average pool", "average for maximum", g.pool_average(1)),
    folded("average pool, padding not counted", "average for maximum", g.pool_average(0)),
    folded("pool padded at the end", "pooling window shifted", g.pool_late),
    folded("summand missing", "one summand missing", g.summand_missing),
    folded("summand twice", "one summand doubled", g.summand_twice),
    folded("BGR", "BGR for RGB", i.image(i.bgr)),
    folded("not divided by 255", "no division by 255", i.image(i.undivided)),
    folded("BGR, not divided", "BGR, and no division by 255", i.image(i.undivided_bgr)),
    folded("divided again", "division by 255 twice", i.image(i.scaled(1 / 255, 0))),
    folded("2x - 1", "scaled to -1..1: 2x - 1", i.image(i.scaled(2, -1))),
    folded("x - 0.5", "shifted by a half: x - 0.5", i.image(i.scaled(1, -0.5))),
    folded("x * 255 / 256", "division by 256", i.image(i.scaled(255 / 256, 0))),
    folded(
        "16 to 235", "video range: 16 to 235 for 0 to 255", i.image(i.scaled(219 / 255, 16 / 255))
    ),
    folded("ImageNet", "normalized with ImageNet's means", i.image(i.normalized)),
    folded("mirrored", "image mirrored", i.image(i.mirrored)),
    folded("channels last", "NHWC read as NCHW", i.image(i.channels_last)),
    folded("no sigmoid", "sigmoid missing in the decode", d.without_sigmoid),
    folded(
        "grid x and y", "grid order: x and y exchanged",
        d.at_levels(".cell", lambda c, level: c[..., ::-1]),
    ),
    folded(
        "grid without half", "grid without its half cell",
        d.at_levels(".cell", lambda c, level: c + c.flat[0] * -1),
    ),
    folded(
        "anchors reversed", "anchor order within a level",
        d.at_levels(".anchors", lambda a, level: a[:, ::-1]),
    ),
    folded(
        "anchor sides", "anchor width and height exchanged",
        d.at_levels(".anchors", lambda a, level: a[..., ::-1]),
    ),
    folded("anchors rotated", "anchors of another level", d.anchors_rotated),
    folded("boxes in cells", "boxes not multiplied by the stride", d.in_cells),
    folded("sides not squared", "width and height of another formula", d.not_squared),
    folded("anchors last", "rows of the grid in another order", d.anchors_last),
    folded("levels reversed", "levels in another order", d.levels_reversed),
    folded(
        "anchors of the first level reversed", "anchors of one level",
        d.at_levels(".anchors", lambda a, level: a if level else a[:, ::-1]),
    ),
    folded(
        "grid of the last level x and y", "grid of one level",
        d.at_levels(".cell", lambda c, level: c[..., ::-1] if level == 2 else c),
    ),
    folded("boxes / size", "boxes divided by the input size", d.after(d.divided)),
    folded("corners", "boxes as corners", d.after(d.corners)),
    folded(
        "corners / size", "boxes as corners, divided by the input size",
        d.after(lambda E, size: d.corners(E, size) @ d.divided(E, size)),
    ),
    folded("y before x", "x and y exchanged", d.after(d.y_first)),
    folded("objectness last", "objectness behind the classes", d.after(d.objectness_last)),
    folded("class * objectness", "scores multiplied by objectness", d.multiplied),
    folded("logits", "confidences as logits", d.logits),
    folded("entries first", "entries before rows (NER) taken as NRE", d.entries_first),
    folded("bfloat16 tensors", "stored as bfloat16", t.stored(TensorProto.BFLOAT16)),
    folded(
        "float16 products", "inputs and weights rounded to tf32 or float16",
        t.cores(TensorProto.FLOAT16),
    ),
    folded("float16 tensors", "stored as float16", t.stored(TensorProto.FLOAT16)),
    folded(
        "bfloat16 products", "inputs and weights rounded to bfloat16",
        t.cores(TensorProto.BFLOAT16),
    ),
    folded("float16 sums, n <= 500", "float16 accumulation", t.half_sums(500, True)),
    folded("float16 sums, float32 outputs", "float16 accumulation", t.half_sums(5000, False)),
    unfolded("epsilon 1e-5 for 1e-3", "wrong eps of the batch norm", s.wrong_eps),
    unfolded(
        "batch norm left out", "batch norm not folded or folded wrongly",
        s.bypassed("BatchNormalization"),
    ),
    unfolded("1x1 branch left out", "a RepConv branch missing", s.branch_missing("1x1")),
    unfolded(
        "implicit Add left out", "implicit addition missing or applied twice", s.bypassed("Add")
    ),
    unfolded("implicit Add twice", "implicit addition missing or applied twice", s.twice("Add")),
    unfolded(
        "implicit Mul left out", "implicit multiplication missing or applied twice",
        s.bypassed("Mul"),
    ),
    unfolded(
        "implicit Mul twice", "implicit multiplication missing or applied twice", s.twice("Mul")
    ),
    quantized(
        "one scale for the layer", "per-layer for per-filter scales",
        s.codes(lambda q, scale, z: (q, np.full_like(scale, scale.max()), z)),
    ),
    quantized(
        "zero points of 0", "zero point left out",
        s.codes(lambda q, scale, z: (q, scale, 0 * z)),
    ),
    quantized(
        "zero point added", "sign of the zero point", s.decoded(lambda q, c, z: (q + z) * c)
    ),
    quantized(
        "zero points of 8", "one zero point for all groups",
        s.codes(lambda q, scale, z: (q, scale, 0 * z + 8)),
    ),
    quantized(
        "zero points + 1", "zero point off by one",
        s.codes(lambda q, scale, z: (q, scale, z + 1)),
    ),
    quantized(
        "scales of the next filter", "scales of other groups",
        s.codes(lambda q, scale, z: (q, np.roll(scale, -1), z)),
    ),
    quantized("codes as signed", "codes taken as signed", s.decoded(s.signed)),
    quantized("nibbles exchanged", "low and high nibble exchanged", s.codes(s.nibbles)),
    quantized(
        "parameters of the next filter", "scales of other groups",
        s.codes(lambda q, scale, z: (q, np.roll(scale, 1), np.roll(z, 1))),
    ),
    *(Fault(FOLDED, kind, None, change) for kind, change in t.NAMELESS),
    *(Fault(FOLDED, kind, cause, change, fresh=True) for kind, cause, change in FRESH),
)  # fmt: skip
