"""Checkpoints of PyTorch (.pt), read without PyTorch and without running anything of the file.

    read(path) -> Model        YOLOv7 in training, deploy and fused form, YOLOv5 v5 and v6

In five steps, each of which trusts only what the one before it has checked:

    torch_zip.py        the file -> the archive's members
    unpickle.py         data.pkl -> inert objects, by the names that torch_globals.py allows
    torch_layers.py     objects -> layers, by way of torch_head.py, torch_modules.py (classes of
                        the training code) and torch_leaves.py (classes of PyTorch)
    torch_tensors.py    storages -> arrays
    graph/lower.py      layers -> nodes; maps.py checks that they fit; fold.py folds them

A checkpoint is a dictionary with a model under "ema" (the average over the training steps, which
is used if it is there) or "model", or it is the model itself. Weights are kept as they are stored,
fp16 as a rule, and rounded once, after folding in float64.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from refquant.arrays.errors import BadInput
from refquant.formats.maps import check_maps
from refquant.formats.pickle_machine import Instance
from refquant.formats.torch_globals import Tensor, load, resolve
from refquant.formats.torch_head import has_norms
from refquant.formats.torch_layers import head_of, layers_of
from refquant.formats.torch_tensors import Arrays
from refquant.formats.torch_zip import Archive, open_archive, read_member, sha256_of
from refquant.formats.unpickle import MAX_BYTES, unpickle
from refquant.graph.fold import fold as folded
from refquant.graph.graph import Model, cast, count
from refquant.graph.lower import lower

SUFFIXES = (".pt", ".pth")
LICENCE = "YOLOv5 and YOLOv7 code: GPL-3.0; whether that extends to weights is disputed"
LONGEST_NAME = 100  # characters of a class name


def read(path: str | os.PathLike[str], *, fold: bool = True, dtype: type = np.float32) -> Model:
    """The model of a checkpoint.

    fold    fold batch norms, RepConv branches and implicit layers into the convolutions
    dtype   np.float32, or np.float64 to keep the folded arrays as computed
    Raises BadInput, in one line, for every file that is not such a checkpoint; what is in doubt is
    refused by the name of the layer, tensor or pickled name.
    """
    model = unfolded(Path(path))
    model = folded(model) if fold else model
    return model.with_nodes(tuple(cast(node, dtype) for node in model.nodes))


def unfolded(path: Path) -> Model:
    """The model as it is in the file, arrays in the precision of the file."""
    with open_archive(path) as archive:
        try:
            root, chosen = select(contents(archive))
            nodes = lower(layers_of(root, Arrays(archive)))
            names = class_names(root)
        except BadInput as error:
            raise BadInput(path, str(error)) from error
        origin = {"name": path.name, "sha256": sha256_of(archive), "selected": chosen}
    model = Model(nodes, names, False, count(nodes), {**origin, **form(root)}, LICENCE)
    check_maps(model, path)
    return model


def contents(archive: Archive) -> Any:
    """The value of data.pkl, which must not be followed by anything."""
    size = archive.members["data.pkl"].size
    if size > MAX_BYTES:
        raise BadInput("data.pkl", f"{size} bytes are more than {MAX_BYTES}")
    value, end = unpickle(read_member(archive, "data.pkl"), resolve, load)
    if end != size:
        raise BadInput("data.pkl", f"{size - end} bytes follow the pickle", "the file is damaged")
    return value


def select(value: Any) -> tuple[Instance, str]:
    """The model, and the key that it was found under ("" if the file is nothing else)."""
    if type(value) is Instance:
        return value, ""
    entries = value if type(value) is dict else {}
    for key in ("ema", "model"):
        if type(entries.get(key)) is Instance:
            return entries[key], key
    for found in (entries, *entries.values()):
        if type(found) is dict and any(type(tensor) is Tensor for tensor in found.values()):
            raise BadInput(
                "data.pkl",
                "it holds tensors by name (a state_dict), not the network that connects them",
                "save the whole model: torch.save({'model': model}, path)",
            )
    raise BadInput("data.pkl", "it holds no model under 'ema' or 'model'", "give a checkpoint")


def form(root: Instance) -> dict[str, str]:
    """The class of the head, and which of three forms the file has.

    training    the head has implicit layers or auxiliary outputs
    deploy      it has not, but batch norms are not folded yet: the released form
    fused       no batch norm is left
    """
    head = head_of(root).kind
    unfused = "deploy" if head == "Detect" else "training"
    return {"form": unfused if has_norms(root) else "fused", "head": head}


def class_names(root: Instance) -> tuple[str, ...]:
    """One per class of the head: "class 7" where the file has none, "?" where it has no text."""
    found = root.attributes.get("names")
    if type(found) is list:
        found = dict(enumerate(found))
    named = found if type(found) is dict else {}
    names = (named.get(i, f"class {i}") for i in range(head_of(root).attributes["nc"]))
    shown = (str(name)[:LONGEST_NAME] if type(name) in (str, int) else "?" for name in names)
    return tuple("".join(c if c.isprintable() else "?" for c in name) for name in shown)
