"""Safetensors (.safetensors): tensors by name, and nothing else.

    uint64 n, little-endian | n bytes of JSON: name -> dtype, shape, offsets | the numbers

The library `safetensors` (an extra) takes it apart. It refuses headers that are no JSON or too
deep, shapes that overflow, and tensors that overlap, leave gaps or leave the file; so each number
of the file belongs to one tensor. It accepts headers of up to 100 MB, each byte of which may take
25 bytes of memory (measured with many empty tensors), so the header's length is limited here
first. An architecture's table says how the tensors are connected (state_dict.py). bfloat16, the
upper half of a float32, is widened to float32.

Source  https://github.com/huggingface/safetensors#format
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.finish import finish
from refquant.formats.state_dict import Tensors, model_by_name
from refquant.graph.graph import Model

DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2", "I64": "<i8"}
MOST_BYTES = 2**32  # of a file; E6E in float32 has 0.67e9
MOST_HEADER = 2**20  # bytes; E6E in training form, 1,750 tensors, has 0.2e6


def read(path: Path, *, fold: bool = True, arch: str | None = None) -> Model:
    """The model of a file of tensors, connected as the architecture `arch` says.

    fold    fold batch norms, RepConv branches and implicit layers into the convolutions
    Raises BadInput, in one line, for everything else.
    """
    data = content(path)
    origin = {"name": path.name, "sha256": hashlib.sha256(data).hexdigest()}
    try:
        tensors = tensors_in(data)
        del data  # the tensors are copies
        model = model_by_name(tensors, arch)
    except BadInput as error:
        raise BadInput(path, str(error)) from error
    model = model.with_source({**origin, **model.source})
    return finish(model, path, fold)


def content(path: Path) -> bytes:
    """The whole file."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise BadInput(path, f"{size} bytes are more than {MOST_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror or error})") from error


def tensors_in(data: bytes) -> Tensors:
    """The tensors of a file's bytes."""
    try:
        from safetensors import SafetensorError, deserialize
    except ModuleNotFoundError as error:
        remedy = "pip install 'refquant[safetensors]'"
        raise BadInput("safetensors", "this library is not installed", remedy) from error
    length = int.from_bytes(data[:8], "little")
    if length > MOST_HEADER:
        raise BadInput("header", f"{length} bytes are more than {MOST_HEADER}", "is it a model's?")
    try:
        entries: dict[str, dict[str, Any]] = dict(deserialize(data))
    except SafetensorError as error:
        problem = f"it is no safetensors file ({str(error)[:200]})"
        raise BadInput("header", problem, "the file is damaged") from error
    shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    return Tensors(shapes, lambda name: array(name, entries[name]))


def array(name: str, entry: dict[str, Any]) -> NDArray[Any]:
    """One tensor, in the machine's byte order."""
    if entry["dtype"] not in DTYPES:
        raise BadInput(name, f"dtype {entry['dtype']} is none of {', '.join(DTYPES)}")
    dtype = np.dtype(DTYPES[entry["dtype"]])
    values = np.frombuffer(entry["data"], dtype).astype(dtype.newbyteorder("="), copy=False)
    if entry["dtype"] == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(entry["shape"])
