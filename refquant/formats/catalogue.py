"""FORMATS, the files a model can be read from and written to; `load_model` and `save_model`.

    load_model(path) -> Model        save_model(model, path) -> content_sha256
    load_model(path, arch="yolov7")  a file of tensors by name, with the name of its architecture
    load_model(path, eps=1e-3)       a Darknet file with statistics of PyTorch's

The first bytes of a file say what it is; where they say nothing, its suffix does. The module of a
format is imported when it is used, so that importing this file costs nothing.
"""

import contextlib
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
    """Read a model from a file, or make one by name.

    Nothing in a file is ever executed, and no size in it is believed before it is checked against
    the bytes that exist.

    Parameters
    ----------
    path : str or path-like
        A file of HDF5, PyTorch, safetensors, Darknet or ONNX; or "demo", the embedded model; or
        "random:" with the name of an architecture, such as "random:yolov7", whose weights are
        drawn with seed 0.
    fold : bool, default: True
        Whether batch norms, RepConv branches and implicit layers are folded into convolutions. A
        file that holds the folded model gives the folded model either way.
    arch : str, optional
        The architecture of a file that holds nothing but tensors and their names, such as
        "yolov7-w6".
    eps : float, optional
        What is added to the variances of a Darknet model's batch norms; 1e-5 where it is left out
        (formats/darknet/file.py says why).

    Returns
    -------
    Model
        The model, with its weights in float32 unless they are quantized.

    Raises
    ------
    BadInput
        If the file cannot be read, is not a model, or breaks a rule of its format, or if an option
        is given that its format does not take.

    Examples
    --------
    >>> import refquant
    >>> model = refquant.load_model("demo")
    >>> len(model.nodes), model.parameters
    (120, 581365)
    >>> model.class_names
    ('disc', 'ring', 'square', 'triangle', 'star', 'cross', 'crescent', 'arrow')
    >>> model["model.0.conv"].arrays["weight"].shape
    (8, 3, 3, 3)
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
    """Refuse the options that are not known to what is read."""
    for key, value in options.items():
        if key not in known:
            raise BadInput(f"{key}={value}", f"{what} takes none", "leave it away")


def save_model(model: Model, path: str | os.PathLike[str]) -> str:
    """Write a model to a file in refquant's own format, HDF5.

    The file appears whole or not at all. The same model gives the same content hash on every
    machine; docs/hdf5.md says what the file holds.

    Parameters
    ----------
    model : Model
        The model, folded or not, quantized or not.
    path : str or path-like
        The file, whose suffix is .h5 or .hdf5. A file of that name is replaced.

    Returns
    -------
    str
        The content hash: SHA-256 of what the file holds, as 64 hexadecimal digits.

    Raises
    ------
    BadInput
        If the suffix is another one, or if the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import refquant
    >>> model = refquant.load_model("demo")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sha256 = refquant.save_model(model, f"{folder}/copy.h5")
    ...     again = refquant.load_model(f"{folder}/copy.h5")
    >>> sha256[:16]
    '2c283bd099e313de'
    >>> [node.name for node in again.nodes] == [node.name for node in model.nodes]
    True
    """
    suffix = Path(path).suffix.lower()
    for item in FORMATS.values():
        if suffix in item.suffixes and item.write is not None:
            return item.write(model, Path(path))
    remedy = f"choose {suffixes(True)}; refquant export writes .onnx and .npz"
    raise BadInput(path, f"suffix {suffix!r} is no format to write", remedy)


def format_of(path: Path) -> Format:
    """The format of a file: by its first bytes, or else by its suffix."""
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
    """The first 64 bytes of a regular file; whatever is no such file raises BadInput."""
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
            path.stat()  # tells what `exists`, since Python 3.14, takes for absence
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
    """The suffixes of all formats, or of those alone that can be written."""
    chosen = (item for item in FORMATS.values() if item.write or not writable)
    return " | ".join(suffix for item in chosen for suffix in item.suffixes)
