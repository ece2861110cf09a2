"""Modules with parts: from the inert objects of a checkpoint to a tree of graph/module.py.

A module's children keep their names, which become those of the graph's nodes. Modules may be
shared, so that few objects can stand for very many: their number and depth are limited first.
"""

from collections.abc import Iterator

from refquant.arrays.errors import BadInput
from refquant.formats.torch.globals import Tensor
from refquant.formats.torch.leaves import LEAVES, SUPPORTED, children_of, tensors_of
from refquant.formats.torch.pickle_machine import Instance
from refquant.formats.torch.tensors import Arrays
from refquant.graph.blocks import BLOCKS
from refquant.graph.module import Module

MAX_MODULES = 2**12  # E6E in training form, the largest of the family, has about 1,300
MAX_DEPTH = 16  # 6 in the family: C3's bottlenecks
NOT_NEEDED = ("num_batches_tracked",)


def walk_modules(root: Instance) -> Iterator[tuple[str, Instance]]:
    """Every module below the root with its name, such as "model.24.conv", parents first."""
    waiting = [(key, child, 0) for key, child in reversed(children_of("model", root).items())]
    seen = 0
    while waiting:
        path, instance, depth = waiting.pop()
        yield path, instance
        below = children_of(path, instance).items()
        waiting += [(f"{path}.{key}", child, depth + 1) for key, child in reversed(below)]
        seen += 1
        if depth > MAX_DEPTH or seen + len(waiting) > MAX_MODULES:
            limits = f"{MAX_MODULES} modules, nested {MAX_DEPTH} deep"
            raise BadInput(path, f"the model has more than {limits}")


def tensors_in(root: Instance) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all parameters and buffers that a result depends on."""
    for path, instance in walk_modules(root):
        for key, tensor in tensors_of(path, instance).items():
            if key not in NOT_NEEDED:
                yield f"{path}.{key}", tensor
        if type(instance.attributes.get("stride")) is Tensor:  # of the head
            yield f"{path}.stride", instance.attributes["stride"]


def module(name: str, instance: Instance, arrays: Arrays) -> Module:
    """A module with its parts. The recursion is as deep as walk_modules has found it to be."""
    if instance.kind in LEAVES:
        return LEAVES[instance.kind](name, instance, arrays)
    block = BLOCKS.get(instance.kind)
    if block is None and instance.kind != "ModuleList":
        raise BadInput(name, f"module {instance.name} is not known", SUPPORTED)
    below = children_of(name, instance)
    parts = {key: module(f"{name}.{key}", child, arrays) for key, child in below.items()}
    if block is None:
        return Module(instance.kind, children=parts)
    missing = block.missing(parts)
    if missing:
        problem = f"{instance.kind} without {', '.join(missing)}"
        raise BadInput(name, problem, "the file is damaged")
    attributes = {flag: instance.attributes.get(flag) is True for flag in block.flags}
    return Module(instance.kind, attributes, {}, parts)
