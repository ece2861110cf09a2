"""State_dicts, and checkpoints in the form before PyTorch 1.6, of the networks that tests make."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pickle_writer import Name, Ordered, Outside, Writer, dumps
from torch_objects import Objects

from refquant.formats.torch.legacy import MAGIC
from refquant.graph.module import Layer, Module

SOURCE_TEXT = "class Conv: pass  # a stranger's source text, under a licence of its own"
CLASSES = ("models.", "torch.nn.modules.")


def state_dict(layers: Sequence[Layer], prefix: str = "model.") -> dict[str, np.ndarray]:
    """Tensors by name, as the public code's networks name theirs."""
    found: dict[str, np.ndarray] = {}
    for index, layer in enumerate(layers):
        collect(f"{prefix}{index}", layer.module, found)
    return found


def collect(name: str, module: Module, found: dict[str, np.ndarray]) -> None:
    """The tensors of a module and of its parts, under its name."""
    for key, values in module.arrays.items():
        found[f"{name}.{key}"] = values.reshape(1, -1, 1, 1) if key == "implicit" else values
    if module.kind == "BatchNorm2d":
        found[f"{name}.num_batches_tracked"] = np.array(1, np.int64)
    if module.kind == "Detect":
        pixels = module.arrays["anchors"].astype(np.float16)
        strides = np.array(module.attributes["strides"], np.float16)
        found[f"{name}.anchors"] = pixels / strides[:, None, None]
        found[f"{name}.anchor_grid"] = pixels.reshape(len(pixels), 1, -1, 1, 1, 2)
    for key, child in module.children.items():
        collect(f"{name}.{key}", child, found)


def tensors(objects: Objects, arrays: dict[str, np.ndarray]) -> Ordered:
    """The arrays as an OrderedDict of tensors; their storages go to objects."""
    made = {name: objects.tensor(values) for name, values in arrays.items()}
    return Ordered(made, {"_metadata": Ordered({"": {"version": 1}})})


class LegacyWriter(Writer):
    """References have a sixth part, None; a class is wrapped at its first use, with its source."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[Any, Any] = {}

    def write(self, value: Any) -> None:
        if type(value) is Outside and len(value.reference) == 5:
            longer = Outside((*value.reference, None))
            value = self.seen.setdefault(id(value), longer)
        if type(value) is Name and value.module.startswith(CLASSES) and value not in self.seen:
            self.seen[value] = value
            value = Outside(("module", value, "models/common.py", SOURCE_TEXT))
        super().write(value)


def save_legacy(path: Path, value: Any, objects: Objects, **changes: bytes) -> Path:
    """Write the stream. Its parts have names, by which `changes` replaces them."""
    writer = LegacyWriter()
    writer.write(value)
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    keys = [str(i) for i in range(len(objects.storages))]
    pairs = zip(objects.storages, objects.sizes, strict=True)
    parts = {
        "magic": dumps(MAGIC),
        "version": dumps(1001),
        "machine": dumps(machine),
        "value": b"\x80\x02" + b"".join(writer.parts) + b".",
        "keys": dumps(keys),
        "storages": b"".join(struct.pack("<q", len(d) // size) + d for d, size in pairs),
        "rest": b"",
    }
    path.write_bytes(b"".join({**parts, **changes}.values()))
    return path
