"""Checkpoints of PyTorch (.pt), read without PyTorch and without running anything of the file.

    read(path) -> Model        YOLOv7 in training, deploy and fused form, YOLOv5 v5 and v6
    read(path, arch="yolov7")  of a file that holds tensors by name only

It is read in five steps, each of which trusts only what the one before it has checked:

    archive.py       the file -> the archive's members; legacy.py: the form before 1.6
    unpickle.py      the pickle -> inert objects, by the names that globals.py allows
    layers.py        objects -> layers, by way of head.py, modules.py (classes of the training
                     code) and leaves.py (classes of PyTorch);
                     state_dict.py: tensors by name -> layers, by an architecture's table
    tensors.py       storages -> arrays
    graph/lower.py   layers -> nodes; maps.py checks that they fit; fold.py folds them

A checkpoint is a dictionary with a model under "ema" (the average over the training steps, which
is used if it is there) or "model", or it is the model itself; in place of a model there may be a
dictionary of tensors, which needs the name of an architecture. Weights are kept as they are
stored, fp16 as a rule, and rounded once, after folding in float64.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from refquant.arrays.errors import BadInput
from refquant.formats.finish import finish
from refquant.formats.official import LICENCE
from refquant.formats.state_dict import Tensors, model_by_name
from refquant.formats.torch.archive import Archive, open_archive, read_member, sha256_of
from refquant.formats.torch.globals import Tensor, load, resolve
from refquant.formats.torch.head import has_norms
from refquant.formats.torch.layers import head_of, layers_of
from refquant.formats.torch.legacy import START, open_legacy
from refquant.formats.torch.pickle_machine import Instance, shown
from refquant.formats.torch.tensors import Arrays, Storages, check_view, storages_of
from refquant.formats.torch.unpickle import MAX_BYTES, unpickle
from refquant.graph.graph import Model, count
from refquant.graph.lower import lower

PLACES = ("ema", "model", "state_dict", "model_state_dict")  # where tensors by name may be
LONGEST_NAME = 100  # characters of a class name


class Content(NamedTuple):
    """What is in a checkpoint, whatever its container is."""

    value: Any
    storages: Storages
    stream: BinaryIO


def read(
    path: str | os.PathLike[str],
    *,
    fold: bool = True,
    arch: str | None = None,
    dtype: type = np.float32,
) -> Model:
    """The model of a checkpoint.

    fold    fold batch norms, RepConv branches and implicit layers into the convolutions
    arch    the architecture of a file that holds tensors by name; of no other file
    dtype   np.float32, or np.float64 to keep the folded arrays as computed
    Raises BadInput, in one line, for every file that is not such a checkpoint; what is in doubt is
    refused by the name of the layer, tensor or pickled name.
    """
    return finish(unfolded(Path(path), arch), path, fold, dtype)


def unfolded(path: Path, arch: str | None = None) -> Model:
    """The model as it is in the file, arrays in the precision of the file."""
    try:
        with opened(path) as content:
            found, chosen = select(content.value)
            origin = {"name": path.name, "selected": chosen}
            if isinstance(found, Instance):
                model = whole_model(found, content.storages, arch)
            else:
                model = model_by_name(tensors_by_name(found, content.storages), arch)
            origin["sha256"] = sha256_of(content.stream)
    except BadInput as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise BadInput(path, str(error)) from error
    return model.with_source({**origin, **model.source})


def whole_model(root: Instance, storages: Storages, arch: str | None) -> Model:
    """The model of a file that holds the network itself."""
    if arch is not None:
        raise BadInput(f"arch={arch}", "the file says itself how it is connected", "leave it away")
    nodes = lower(layers_of(root, Arrays(storages)))
    return Model(nodes, class_names(root), False, count(nodes), form(root), LICENCE)


def tensors_by_name(entries: dict[str, Tensor], storages: Storages) -> Tensors:
    """The tensors of a state_dict, their sizes checked."""
    arrays = Arrays(storages)
    arrays.require(entries.items())
    for name, tensor in entries.items():
        check_view(name, tensor)
    shapes = {name: tensor.size for name, tensor in entries.items()}
    return Tensors(shapes, lambda name: arrays.read(name, entries[name]))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Content]:
    """The content of a checkpoint, in either container."""
    if starts_with(path, START):
        with open_legacy(path) as legacy:
            yield Content(*legacy)
        return
    with open_archive(path) as archive:
        yield Content(contents(archive), storages_of(archive), archive.stream)


def starts_with(path: Path, start: bytes) -> bool:
    """Whether a regular file begins with these bytes."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(len(start)) == start
    except OSError:  # open_archive will say what is wrong
        return False


def contents(archive: Archive) -> Any:
    """The value of data.pkl, which must not be followed by anything."""
    size = archive.members["data.pkl"].size
    if size > MAX_BYTES:
        raise BadInput("data.pkl", f"{size} bytes are more than {MAX_BYTES}")
    value, end = unpickle(read_member(archive, "data.pkl"), resolve, load)
    if end != size:
        raise BadInput("data.pkl", f"{size - end} bytes follow the pickle", "the file is damaged")
    return value


def select(value: Any) -> tuple[Instance | dict[str, Tensor], str]:
    """The model, or its tensors by name, and the key found under ("" if there is nothing else)."""
    if type(value) is Instance:
        return value, ""
    entries = value if type(value) is dict else {}
    for key in ("ema", "model"):
        if type(entries.get(key)) is Instance:
            return entries[key], key
    for key in ("", *PLACES, *entries):
        found = entries.get(key) if key else entries
        if type(found) is dict and any(type(item) is Tensor for item in found.values()):
            return only_tensors(found), str(key)
    raise BadInput("data.pkl", "it holds no model under 'ema' or 'model'", "give a checkpoint")


def only_tensors(entries: dict[Any, Any]) -> dict[str, Tensor]:
    """The entries of a state_dict, if all of them are tensors by name."""
    for key, value in entries.items():
        if type(key) is not str or type(value) is not Tensor:
            raise BadInput("state_dict", f"{shown(key)} is not the name of a tensor")
    return entries


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
