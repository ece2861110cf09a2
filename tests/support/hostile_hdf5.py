"""Making HDF5 files that a stranger might send, from good ones.

A change is made with h5py. Where the content hash alone would give it away, the hash is made to
fit again, as a stranger would.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from small_model import STEM

from refquant.arrays.errors import BadInput
from refquant.formats.catalogue import load_model, save_model
from refquant.formats.hdf5.content_hash import Group, content_sha256
from refquant.graph.graph import Model

Change = Callable[[h5py.File], Any]


def set_text(owner: h5py.Group, text: bytes) -> None:
    """Replace the one attribute of a group or of the root."""
    name = "model" if owner.name == "/" else "node"
    del owner.attrs[name]
    owner.attrs[name] = np.bytes_(text)


def set_json(owner: h5py.Group, **changes: Any) -> None:
    """Change keys of the JSON of a group or of the root; `None` removes a key."""
    value = json.loads(owner.attrs["model" if owner.name == "/" else "node"])
    value.update(changes)
    kept = {key: item for key, item in value.items() if item is not None}
    set_text(owner, json.dumps(kept, sort_keys=True, separators=(",", ":")).encode())


def set_quantized(**changes: Any) -> Change:
    """A change of the keys that describe the first convolution's codes."""

    def change(file: h5py.File) -> None:
        quantized = json.loads(file[STEM].attrs["node"])["quantized"]
        set_json(file[STEM], quantized={**quantized, **changes})

    return change


def set_array(name: str, make: Callable[[np.ndarray], Any]) -> Change:
    """A change of one dataset's values, dtype or shape."""

    def change(file: h5py.File) -> None:
        value = make(file[name][...])
        del file[name]
        file.create_dataset(name, data=value, track_times=False)

    return change


def fit_hash(path: Path) -> None:
    """Make the content hash that of the content."""
    with h5py.File(path, "r+") as file:
        groups = {
            name: Group(
                bytes(group.attrs["node"]), {key: array[...] for key, array in group.items()}
            )
            for name, group in file.items()
        }
        set_json(file, content_sha256=content_sha256(groups))


def changed(tmp_path: Path, model: Model, change: Change, *, fit: bool) -> Path:
    """A file of the model, changed; fit: with a content hash that fits again."""
    path = tmp_path / "hostile.h5"
    save_model(model, path)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        change(file)
    if fit:
        fit_hash(path)
    return path


def message(path: Path) -> str:
    """How loading the file is refused; a single line that begins with the file's name."""
    with pytest.raises(BadInput) as error:
        load_model(path)
    text = str(error.value)
    assert text.startswith(str(path)) and "\n" not in text
    return text.removeprefix(str(path))


def extra(**options: Any) -> Change:
    """A dataset too many in the group of the first convolution."""

    def change(file: h5py.File) -> None:
        file[STEM].create_dataset("extra", **options)

    return change
