"""Checkpoints of our own in the official format, small, seeded, and made without PyTorch.

    write(path, "yolov7", head="IDetect")            a file as the public training code leaves it
    network("yolov7", head="IDetect") -> layers      what is in it, for comparison

What the format is, the reader's files say (formats/torch/*.py); this is a second account of it,
from the other side. The weights are those of architecture.py's random networks, rounded to fp16
as in the released files; a fused file, whose weights are computed, holds float32.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fuse_checkpoint import fuse
from pickle_writer import Call, Name, New
from torch_objects import Objects, save

from refquant.graph.architecture import ARCHITECTURES, detect, layers_of, random_arrays, supply_of
from refquant.graph.blocks import conv
from refquant.graph.module import Layer, Module

HEADS = ("Detect", "IDetect", "IAuxDetect")


def write(
    path: Path,
    architecture: str = "yolov7",
    width: float = 0.125,
    head: str = "Detect",
    fused: bool = False,
    classes: int = 3,
    seed: int = 0,
) -> Path:
    """Write a checkpoint of a whole model; returns the path."""
    layers = network(architecture, width, head, classes, seed)
    objects = Objects()
    model = objects.model(fuse(layers) if fused else layers, head, fused)
    return save(path, stripped(model), objects.storages)


def network(
    architecture: str = "yolov7",
    width: float = 0.125,
    head: str = "Detect",
    classes: int = 3,
    seed: int = 0,
) -> list[Layer]:
    """The layers in such a file, unfused, in float16; IAuxDetect has its auxiliary layers.

    A table without such layers gets one per lead, of the same input and the same width.
    """
    random = random_arrays(np.random.default_rng(seed))

    def half(name: str, shape: tuple[int, ...]) -> np.ndarray:
        return random(name, shape).astype(np.float16)

    table = ARCHITECTURES[architecture]
    auxiliary = head == "IAuxDetect"
    layers = layers_of(table, width, classes, head != "Detect", half, auxiliary=auxiliary)
    *body, last = layers
    if not auxiliary or "m2" in last.module.children:
        return layers
    leads = [body[source] for source in last.sources]
    supply = supply_of(table, width, half)
    filters = []
    for lead in leads:
        f, c = first_conv(lead.module).arrays["weight"].shape[:2]
        body.append(Layer(lead.sources, conv(supply, "aux", c, f, 3)))
        filters.append(f)
    heads = detect(supply, "aux", filters, table, classes, True)
    children = {**last.module.children, "m2": heads.children["m"]}
    sources = (*last.sources, *range(len(body) - len(leads), len(body)))
    return [*body, Layer(sources, replace(last.module, children=children))]


def first_conv(module: Module) -> Module:
    """The convolution that reads a Conv's or RepConv's input."""
    if "conv" in module.children:
        return module.children["conv"]
    return module.children["rbr_dense"].children["0"]


def stripped(model: New) -> dict[str, Any]:
    """The dictionary around a model after the end of a training run."""
    arrays = "numpy.core.multiarray"
    latin = Call(Name("_codecs", "encode"), ("b", "latin1"))
    start = Call(
        Name("numpy", "dtype"), ("f8", False, True), (3, "<", None, None, None, -1, -1, 0)
    )
    numbers = Call(Name("_codecs", "encode"), ("\0" * 8, "latin1"))
    fitness = Call(
        Name(arrays, "_reconstruct"),
        (Name("numpy", "ndarray"), (0,), latin),
        (1, (1,), start, False, numbers),
    )
    empty = dict.fromkeys(("training_results", "optimizer", "ema", "updates", "wandb_id"))
    return {"epoch": -1, "best_fitness": fitness, "model": model, **empty}
