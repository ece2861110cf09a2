"""FORMATS, the files a model can be read from and written to; `load_model` and `save_model`.

    load_model(path) -> Model        save_model(model, path) -> content_sha256
    load_model(path, arch="yolov7")  a file of tensors by name, with the name of its architecture
    load_model(path, eps=1e-3)       a Darknet file with statistics of PyTorch's

What a file is, its first bytes say; where they say nothing, its suffix does. A format's module is
imported when it is used, so importing this package costs nothing.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refquant.arrays.errors import BadInput
from refquant.arrays.table import Table
from refquant.formats.official import weights_folder
from refquant.graph.graph import Model


class Format(NamedTuple):
    """A file format.

    start      the first bytes of each such file, empty where they vary
    read       read(path, fold=True) -> Model
    options    what `read` takes by keyword besides
    """

    name: str
    suffixes: tuple[str, ...]
    start: bytes
    read: Callable[..., Model]
    write: Callable[[Model, Path], str] | None = None
    options: tuple[str, ...] = ()


def _read_hdf5(path: Path, *, fold: bool = True) -> Model:
    from refquant.formats.hdf5 import store as hdf5

    return hdf5.read(path, fold=fold)


def _write_hdf5(model: Model, path: Path) -> str:
    from refquant.formats.hdf5 import store as hdf5

    return hdf5.write(model, path)


def _read_torch(path: Path, *, fold: bool = True, arch: str | None = None) -> Model:
    from refquant.formats.torch import checkpoint as torch_checkpoint

    return torch_checkpoint.read(path, fold=fold, arch=arch)


def _read_safetensors(path: Path, *, fold: bool = True, arch: str | None = None) -> Model:
    from refquant.formats import safetensors_file

    return safetensors_file.read(path, fold=fold, arch=arch)


def _read_darknet(path: Path, *, fold: bool = True, eps: float | None = None) -> Model:
    from refquant.formats.darknet import file as darknet

    return darknet.read(path, fold=fold, eps=eps)


def _read_onnx(path: Path, *, fold: bool = True, arch: str | None = None) -> Model:
    from refquant.formats.onnx import file as onnx_file

    return onnx_file.read(path, fold=fold, arch=arch)


FORMATS = Table(
    "format",
    (
        Format("hdf5", (".h5", ".hdf5"), b"\x89HDF\r\n\x1a\n", _read_hdf5, _write_hdf5),
        Format("torch", (".pt", ".pth"), b"PK\x03\x04", _read_torch, options=("arch",)),
        Format("torch-legacy", (), b"\x80\x02\x8a\x0a", _read_torch, options=("arch",)),
        Format("safetensors", (".safetensors",), b"", _read_safetensors, options=("arch",)),
        Format("darknet", (".cfg", ".weights"), b"", _read_darknet, options=("eps",)),
        Format("onnx", (".onnx",), b"", _read_onnx, options=("arch",)),
    ),
)


def load_model(
    path: str | os.PathLike[str],
    *,
    fold: bool = True,
    arch: str | None = None,
    eps: float | None = None,
) -> Model:
    """A model by path, or by name: demo (embedded), random:yolov7, random:yolov7-tiny (seed 0).

    fold=False does not fold batch norms, RepConv branches and implicit layers away; a file that
    holds the folded model gives the folded model all the same.
    arch is the architecture of a file that holds tensors by name only, such as "yolov7-w6".
    eps is that of the batch norms of a Darknet model, by default 1e-5 (see darknet/file.py).
    """
    name = os.fspath(path)
    given = {"arch": arch, "eps": eps}
    options = {key: value for key, value in given.items() if value is not None}
    if name == "demo":
        path = weights_folder() / "demo.h5"
    if name.startswith("random:"):
        refuse_options(options, (), name)
        from refquant.graph.architecture import build

        return build(name.removeprefix("random:"), folded=fold)
    item = format_of(Path(path))
    refuse_options(options, item.options, f"a file in the format {item.name}")
    with np.errstate(all="ignore"):  # a stranger's numbers; finish.py says why
        return item.read(Path(path), fold=fold, **options)


def refuse_options(options: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    """Refuse options that a model does not take."""
    for key, value in options.items():
        if key not in known:
            raise BadInput(f"{key}={value}", f"{what} takes none", "leave it away")


def save_model(model: Model, path: str | os.PathLike[str]) -> str:
    """Write a model in the format of the suffix, and return its content_sha256.

    The file appears whole or not at all.
    """
    suffix = Path(path).suffix.lower()
    for item in FORMATS.values():
        if suffix in item.suffixes and item.write is not None:
            return item.write(model, Path(path))
    remedy = f"choose {suffixes(True)}; refquant export writes .onnx and .npz"
    raise BadInput(path, f"suffix {suffix!r} is no format to write", remedy)


def format_of(path: Path) -> Format:
    """The format of a file, by its first bytes, else by its suffix."""
    start = first_bytes(path)
    for item in FORMATS.values():
        if item.start and start.startswith(item.start):
            return item
    for item in FORMATS.values():
        if path.suffix.lower() in item.suffixes:
            return item
    kind = "a text file" if is_text(start) else "of an unknown kind"
    raise BadInput(path, f"is {kind}, not a model", f"refquant reads {suffixes(False)}")


def first_bytes(path: Path) -> bytes:
    """The first 64 bytes of a regular file; anything else raises BadInput."""
    try:
        if path.is_dir():
            raise BadInput(path, "is a directory", "name a model file")
        if not path.exists():
            raise BadInput(path, "does not exist", "name a model file, or demo")
        if not path.is_file():
            raise BadInput(path, "is not a regular file", "name a model file")
        with path.open("rb") as stream:
            return stream.read(64)
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})") from error


def is_text(start: bytes) -> bool:
    """Whether the bytes are printable ASCII and blanks."""
    return bool(start) and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start)


def suffixes(writable: bool) -> str:
    """The suffixes of all formats, or of those that can be written."""
    chosen = (item for item in FORMATS.values() if item.write or not writable)
    return " | ".join(suffix for item in chosen for suffix in item.suffixes)
