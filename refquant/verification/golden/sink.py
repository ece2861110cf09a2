"""Where a golden goes while it is being made: HDF5 or .npz, one array at a time.

    put(name, arrays, json)      a node's arrays, written at once and forgotten
    finish(root)                 the root's JSON, last: only then the hash is known

Nothing larger than one array is held. The HDF5 library (seen with 2.0) ends the process when the
disk is full, so it writes into a Stream, which keeps the first error to itself and swallows what
comes after it; `put` and `finish` raise that error, and the unfinished file is removed.
"""

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, cast

import h5py
import numpy as np
from h5py import h5g, h5p
from numpy.typing import NDArray

from refquant.arrays.atomic import atomic_path
from refquant.formats.hdf5.store import new_file
from refquant.formats.npz_export import write_array
from refquant.formats.strict_json import encode

Arrays = Mapping[str, NDArray[Any]]


class Sink(Protocol):
    def put(self, name: str, arrays: Arrays, text: Mapping[str, Any]) -> None: ...

    def finish(self, root: Mapping[str, Any]) -> None: ...


class Stream(io.RawIOBase):
    """A file that pretends to take everything; `error` is the first failure."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data)
        size = left.nbytes
        try:
            # A raw file may take a part: Linux 2 GiB at most, a full disk what still fits.
            while left and self.error is None:
                left = left[self.file.write(left) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        if self.error is None:
            try:
                return self.file.truncate(size)
            except OSError as error:
                self.error = error
        return size or 0

    def readinto(self, buffer: Any) -> int:
        return self.file.readinto(buffer)  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def check(self) -> None:
        """Raise the first failure."""
        if self.error is not None:
            raise self.error


class Hdf5Sink:
    """One group per node; see file.py."""

    def __init__(self, file: h5py.File, stream: Stream) -> None:
        self.file, self.stream = file, stream
        self.timeless = h5p.create(h5p.GROUP_CREATE)
        self.timeless.set_obj_track_times(False)

    def put(self, name: str, arrays: Arrays, text: Mapping[str, Any]) -> None:
        group = h5py.Group(h5g.create(self.file.id, name.encode("ascii"), gcpl=self.timeless))
        for key, array in arrays.items():
            group.create_dataset(key, data=array, track_times=False)
        group.attrs.create("node", np.bytes_(encode(text)))
        self.stream.check()

    def finish(self, root: Mapping[str, Any]) -> None:
        self.file.attrs.create("golden", np.bytes_(encode(root)))
        self.file.flush()
        self.stream.check()


class NpzSink:
    """Arrays as NAME.npy and NAME/KEY.npy in a zip file, the JSON as bytes in golden.json.npy."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.nodes: dict[str, Any] = {}

    def put(self, name: str, arrays: Arrays, text: Mapping[str, Any]) -> None:
        for key, array in arrays.items():
            write_array(self.archive, name if key == "output" else f"{name}/{key}", array)
        self.nodes[name] = text

    def finish(self, root: Mapping[str, Any]) -> None:
        text = json.dumps({**root, "nodes": self.nodes}, sort_keys=True).encode("ascii")
        write_array(self.archive, "golden.json", np.frombuffer(text, np.uint8))


@contextlib.contextmanager
def open_sink(path: Path, npz: bool) -> Iterator[Sink]:
    """A sink whose file appears at `path` when the context ends well, or not at all."""
    with atomic_path(path) as temporary:
        if npz:
            with zipfile.ZipFile(temporary, "w") as archive:
                yield NpzSink(archive)
            return
        with temporary.open("wb+", buffering=0) as file:
            stream = Stream(file)
            with new_file(cast(io.BytesIO, stream)) as hdf5:
                yield Hdf5Sink(hdf5, stream)
            stream.check()
