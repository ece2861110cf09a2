"""The layers of a checkpoint: a chain of modules, each of which says which layers it reads.

The root object's module `model` is the chain; each layer has an attribute `f`, what it reads:

    -1                      the layer before; for layer 0 the image
    any other f < 0         layer index + f
    f >= 0                  layer f
    a list of these         several, in this order

The last layer is the head, and its output the result.
"""

from refquant.arrays.errors import BadInput
from refquant.formats.torch.head import HEADS, detect, is_fused
from refquant.formats.torch.leaves import SUPPORTED, children_of
from refquant.formats.torch.modules import module, tensors_in
from refquant.formats.torch.pickle_machine import Instance, shown
from refquant.formats.torch.tensors import Arrays
from refquant.graph.module import Layer

MOST_SOURCES = 64  # of one layer; D6's concats have 10
SEVERAL_INPUTS = ("Concat", "Shortcut", *HEADS)


def chain_of(root: Instance) -> list[Instance]:
    """The layers of a checkpoint's root object, the last of them the head."""
    chain = children_of("model", root).get("model")
    if chain is None or chain.kind != "Sequential":
        raise BadInput("model", f"{root.name} has no chain of layers `model`", SUPPORTED)
    children = children_of("model", chain)
    if list(children) != [str(index) for index in range(len(children))]:
        raise BadInput("model", "its layers are not numbered 0, 1, 2, ...", "the file is damaged")
    layers = list(children.values())
    if not layers or layers[-1].kind not in HEADS:
        raise BadInput("model", "its last layer is no detection head", SUPPORTED)
    return layers


def head_of(root: Instance) -> Instance:
    """The last layer."""
    return chain_of(root)[-1]


def layers_of(root: Instance, arrays: Arrays) -> list[Layer]:
    """The layers of a checkpoint's root object; BadInput names what is not understood."""
    *body, head = chain_of(root)
    arrays.require(tensors_in(root))
    layers = []
    for index, instance in enumerate(body):
        name, sources = f"model.{index}", sources_of(index, instance)
        layers.append(Layer(sources, module(name, instance, arrays)))
    name, sources = f"model.{len(body)}", sources_of(len(body), head)
    fused = is_fused(head, root)
    layers.append(Layer(sources, detect(name, head, arrays, len(sources), fused)))
    return layers


def sources_of(index: int, instance: Instance) -> tuple[int, ...]:
    """The layers that layer `index` reads; -1 is the image."""
    name, found = f"model.{index}", instance.attributes.get("f")
    entries = found if type(found) is list else [found]
    if len(entries) > MOST_SOURCES:
        raise BadInput(name, f"it reads {len(entries)} layers, more than {MOST_SOURCES}")
    sources = []
    for entry in entries:
        if type(entry) is not int or (not -index <= entry < index and (index, entry) != (0, -1)):
            raise BadInput(name, f"f is {shown(found)}, not layers before this one")
        sources.append(entry if entry >= 0 else index + entry)
    if len(sources) != 1 and (instance.kind not in SEVERAL_INPUTS or not sources):
        raise BadInput(name, f"{instance.kind} reads {len(sources)} layers instead of one")
    return tuple(sources)
