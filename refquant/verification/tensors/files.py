"""The tensors of another implementation: .npz, HDF5, a folder of .npy, one .npy, .onnx.

    tensors_of(path, x) -> [Tensor(name, shape, dtype, read)], in the file's order

Only headers are read here; `read()` gives one array. Float dtypes of 2, 4 and 8 bytes are taken as
they are, everything else is refused when it is read, by name. An .onnx is run with the golden's
input x (onnx_run.py). Files come from strangers: a size is compared with the bytes that exist
before anything is allocated, arrays of Python objects (pickles) are never loaded, and in HDF5
only hard links, plain storage and HDF5's own filters are followed.
"""

import io
import math
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5z
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.catalogue import first_bytes
from refquant.formats.hdf5.superblock import SIGNATURE, check_superblock
from refquant.verification.tensors.onnx_run import onnx_tensors
from refquant.verification.tensors.tensor import FLOATS, Tensor

Array = NDArray[Any]
LARGEST = 1 << 32  # bytes of one tensor
MOST_TENSORS = 20_000
FILTERS = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32)
ZIP = b"PK"  # an empty one begins otherwise than a full one
NPY = b"\x93NUMPY"
# What NumPy raises for a header that is not the text of a dictionary.
HEADER_ERRORS = (ValueError, EOFError, SyntaxError, TypeError, TokenError, RecursionError)


def tensors_of(path: Path, x: NDArray[np.float32]) -> list[Tensor]:
    """All tensors of OTHER, in its order; BadInput where there is none."""
    path = Path(path)
    found = list(listed(path, x))
    if not found:
        raise BadInput(path, "holds no tensor", "write the outputs of layers, by name")
    if len(found) > MOST_TENSORS:
        raise BadInput(path, f"holds more than {MOST_TENSORS} tensors")
    for name, count in Counter(tensor.name for tensor in found).items():
        if count > 1:
            raise BadInput(path, f"holds {name!r:.80} {count} times", "write each once")
    return found


def listed(path: Path, x: NDArray[np.float32]) -> Iterator[Tensor]:
    """As tensors_of, by what kind of file it is."""
    if path.is_dir():
        for file in sorted(path.glob("*.npy"), key=lambda file: natural(file.name)):
            yield npy_tensor(file)
        return
    if not path.exists():
        raise BadInput(path, "does not exist", "name the other side's tensors")
    start = first_bytes(path)
    if start.startswith(ZIP):
        yield from npz_tensors(path)
    elif start.startswith(SIGNATURE):
        yield from hdf5_tensors(path)
    elif start.startswith(NPY):
        yield npy_tensor(path)
    elif path.suffix.lower() == ".onnx":
        yield from onnx_tensors(path, x)
    else:
        raise BadInput(path, "is no .npz, .npy, .h5 or .onnx", "write the tensors as .npz")


def natural(name: str) -> list[Any]:
    """Names with numbers in the order of the numbers."""
    parts: list[Any] = [""]
    for character in name:
        if character.isdecimal() != parts[-1].isdecimal():
            parts.append("")
        parts[-1] += character
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts]


def as_floats(array: Array, where: object) -> Array:
    """The array itself, if it is of floating numbers."""
    if array.dtype.name not in FLOATS:
        raise BadInput(where, f"is {array.dtype}", f"give {' or '.join(FLOATS)}")
    return array


def header_of(stream: IO[bytes], size: int, where: object) -> tuple[tuple[int, ...], Any, bool]:
    """(shape, dtype, fortran order) of a .npy of `size` bytes; the stream is left at the data."""
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        with warnings.catch_warnings():  # of headers written by Python 2, which are fine
            warnings.simplefilter("ignore")
            shape, fortran, dtype = read(stream)
    except HEADER_ERRORS as error:
        raise BadInput(where, f"is no .npy or is cut off ({error!s:.80})") from error
    if dtype.hasobject:
        raise BadInput(where, "holds Python objects", "give arrays of floats")
    need = math.prod(shape) * dtype.itemsize
    if need > LARGEST or min(shape, default=1) < 0 or need > size - stream.tell():
        raise BadInput(where, f"shape {shape} needs {need} bytes, which are not there")
    return shape, dtype, fortran


def array_in(stream: IO[bytes], size: int, where: object, floats: bool = True) -> Array:
    """The array of a .npy, of floats or of any numbers."""
    shape, dtype, fortran = header_of(stream, size, where)
    data = stream.read(math.prod(shape) * dtype.itemsize)
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise BadInput(where, f"is cut off: shape {shape} needs more than {len(data)} bytes")
    try:
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    except ValueError as error:  # items of no bytes, or of several numbers
        raise BadInput(where, f"is no array of numbers ({error!s:.80})") from error
    return as_floats(array, where) if floats else array


def read_npy(path: Path) -> Array:
    """The floats of a .npy file."""
    try:
        with path.open("rb") as stream:
            return array_in(stream, path.stat().st_size, path)
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})") from error


def npy_tensor(path: Path) -> Tensor:
    with path.open("rb") as stream:
        shape, dtype, _ = header_of(stream, path.stat().st_size, path)
    return Tensor(path.stem, shape, dtype.name, partial(read_npy, path))


def npz_tensors(path: Path) -> Iterator[Tensor]:
    """The members of an .npz that are .npy; what is damaged raises by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.filename.endswith(".npy"):
                    continue
                where = f"{path}: {entry.filename}"
                with archive.open(entry) as stream:
                    head = io.BytesIO(stream.read(16384))
                # Its size in the directory may be a lie; a lie is found when it is read.
                shape, dtype, _ = header_of(head, entry.file_size, where)
                name = entry.filename.removesuffix(".npy")
                yield Tensor(name, shape, dtype.name, partial(read_member, path, entry.filename))
    except BadInput:
        raise
    except Exception as error:  # zlib, zipfile and struct each have their own kinds
        raise BadInput(path, f"is cut off or damaged ({error!s:.80})") from error


def integers_of(path: Path) -> dict[str, Array]:
    """All numeric arrays of an .npz: codes are integers, which `Tensor.read` refuses."""
    if not first_bytes(path).startswith(ZIP):
        raise BadInput(path, "is no .npz", "write NODE.codes and NODE.scale with numpy.savez")
    names = [tensor.name for tensor in npz_tensors(path)]
    arrays = {name: read_member(path, f"{name}.npy", floats=False) for name in names}
    return {name: array for name, array in arrays.items() if array.dtype.kind in "iuf"}


def read_member(path: Path, member: str, floats: bool = True) -> Array:
    """One array of an .npz."""
    where = f"{path}: {member}"
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            return array_in(stream, archive.getinfo(member).file_size, where, floats)
    except BadInput:
        raise
    except Exception as error:  # as above
        raise BadInput(where, f"is cut off or damaged ({error!s:.80})") from error


def hdf5_tensors(path: Path) -> Iterator[Tensor]:
    """Datasets of floats, by their path without a last "/output" (as in a golden)."""
    check_superblock(path)
    try:
        with h5py.File(path, "r") as file:
            found = list(datasets_in(path, file["/"], "", 0, set()))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(path, f"is cut off or damaged ({error!s:.80})") from error
    folders = {item.name.rpartition("/")[0] for item in found}
    for item in found:  # one folder for all of them says nothing
        yield item._replace(name=item.name.rpartition("/")[2]) if len(folders) == 1 else item


def datasets_in(
    path: Path, group: h5py.Group, prefix: str, depth: int, entered: set[object]
) -> Iterator[Tensor]:
    """The datasets below a group; names that are no text, soft, external and too deep links are
    passed over, and so are groups by a second link: they may contain themselves."""
    number = h5g.get_objinfo(group.id).objno
    if number in entered:
        return
    entered.add(number)
    names = [name for name in group if isinstance(name, str)]  # bytes: no text in UTF-8
    for name in sorted(names, key=natural) if depth < 8 else ():
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item, full = group[name], f"{prefix}/{name}".lstrip("/")
        if isinstance(item, h5py.Group):
            yield from datasets_in(path, item, full, depth + 1, entered)
        elif isinstance(item, h5py.Dataset) and type_name(item) in FLOATS:
            check_dataset(item, f"{path}: {full}")
            read = partial(read_dataset, path, full)
            yield Tensor(full.removesuffix("/output"), item.shape, item.dtype.name, read)


def type_name(dataset: h5py.Dataset) -> str:
    """NumPy's name of a dataset's type, "" where it has none."""
    try:
        return str(dataset.dtype.name)
    except TypeError:  # of HDF5's types for times, and of damaged ones
        return ""


def check_dataset(dataset: h5py.Dataset, where: str) -> None:
    """Refuse storage that leads out of the file, foreign filters and sizes beyond reason."""
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if plist.get_layout() == h5d.VIRTUAL or plist.get_external_count():
        raise BadInput(where, "has its bytes in another file", "store them in this one")
    if any(kind not in FILTERS for kind in filters):
        raise BadInput(where, "has a filter that is not HDF5's own", "store it plain or gzipped")
    if dataset.shape is None or dataset.size * dataset.dtype.itemsize > LARGEST:
        raise BadInput(where, f"shape {dataset.shape} is larger than {LARGEST} bytes")
    if plist.get_layout() == h5d.CONTIGUOUS and dataset.id.get_storage_size() == 0:
        raise BadInput(where, "was never written")


def read_dataset(path: Path, name: str) -> Array:
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file[name][()])
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise BadInput(f"{path}: {name}", f"is cut off or damaged ({error!s:.80})") from error
