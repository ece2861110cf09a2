"""A small network with every module that refquant knows, and checkpoints of it, changeable."""

from dataclasses import replace

import numpy as np
from make_checkpoint import stripped
from pickle_writer import New
from torch_objects import Objects, save

from refquant.graph.architecture import ARCHITECTURES, detect, random_arrays, supply_of
from refquant.graph.blocks import conv as conv_of
from refquant.graph.blocks import rep_conv, sppcspc
from refquant.graph.module import Layer, Module
from refquant.graph.supply import listed, norm, pool

CLASSES = 2
STRIDES = (8, 16)
# Half pixels in the second level: exact in fp16, and in units of the stride too.
ANCHORS = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62.5, 45), (59, 119)))


def zoo(seed: int = 0, implicit: bool = False) -> list[Layer]:
    """The layers, arrays in float16, 8 channels nearly everywhere."""
    random = random_arrays(np.random.default_rng(seed))
    architecture = ARCHITECTURES["yolov7"]._replace(anchors=ANCHORS)

    def half(name: str, shape: tuple[int, ...]) -> np.ndarray:
        return random(name, shape).astype(np.float16)

    supply = supply_of(architecture, 1.0, half)

    def parts(kind: str, *convs: Module, **others: Module) -> Module:
        named = {f"cv{i}": conv for i, conv in enumerate(convs, 1)}
        return Module(kind, children={**named, **others})

    def conv(c: int, filters: int, kernel: int = 1, stride: int = 1) -> Module:
        return conv_of(supply, "zoo", c, filters, kernel, stride)

    def with_activation(module: Module, kind: str) -> Module:
        return replace(module, children={**module.children, "act": Module(kind)})

    def bottleneck(add: bool) -> Module:
        return replace(parts("Bottleneck", conv(8, 8), conv(8, 8, 3)), attributes={"add": add})

    def last() -> Module:
        return detect(supply, "zoo", (8, 8), architecture, CLASSES, implicit)

    identity = {"rbr_identity": norm(supply, "zoo", 8)}
    branches = rep_conv(supply, "zoo", 8, 8)
    chain = listed("Sequential", bottleneck(True), bottleneck(True))
    pyramid = listed("ModuleList", *(pool(k, 1, k // 2) for k in (5, 9, 13)))
    return [
        Layer((-1,), Module("Focus", children={"conv": conv(12, 8, 3)})),
        Layer((0,), Module("ReOrg")),
        Layer((1,), with_activation(conv(32, 8), "LeakyReLU")),
        Layer((2,), parts("DownC", conv(8, 8), conv(8, 4, 3, 2), conv(8, 4), mp=pool(2, 2, 0))),
        Layer((3,), with_activation(conv(8, 8), "Identity")),
        Layer((4, 3), Module("Shortcut")),
        Layer((5,), parts("C3", conv(8, 8), conv(8, 8), conv(16, 8), m=chain)),
        Layer((6,), Module("MP", children={"m": pool(2, 2, 0)})),
        Layer((7,), parts("SPPF", conv(8, 8), conv(32, 8), m=pool(5, 1, 2))),
        Layer((8,), parts("SPP", conv(8, 8), conv(32, 8), m=pyramid)),
        Layer((9,), sppcspc(supply, "zoo", 8, 8)),
        Layer((10,), replace(branches, children={**branches.children, **identity})),
        Layer((11,), Module("SP", children={"m": pool(5, 1, 2)})),
        Layer((12,), bottleneck(False)),
        Layer((13,), Module("Upsample", {"scale": 2})),
        Layer((14, 6), Module("Concat")),
        Layer((15,), listed("Sequential", conv(16, 8), conv(8, 8))),
        Layer((16, 13), replace(last(), attributes={"strides": STRIDES})),
    ]


def write_zoo(path, change=None, *, head="Detect", anchor_grid=True):
    """A checkpoint of the zoo, after change(root object, objects) where one is given."""
    objects = Objects(anchor_grid)
    model = objects.model(zoo(implicit=head != "Detect"), head)
    value = stripped(model)
    if change is not None:
        value = change(model, objects) or value
    return save(path, value, objects.storages)


def at(model: New, name: str) -> New:
    """The object of a module, such as "model.3.cv1.conv"."""
    for key in name.split("."):
        model = model.attributes["_modules"][key]
    return model
