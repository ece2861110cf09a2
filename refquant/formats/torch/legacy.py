"""The container of checkpoints before PyTorch 1.6: pickles and raw numbers, one after the other.

    1  pickle of the integer MAGIC             4  pickle of the object, with persistent ids for
    2  pickle of the integer 1001                 its storages
    3  pickle of a dictionary about the        5  pickle of the list of the storages' keys
       machine: little_endian, type_sizes

and then per key, in the order of 5: int64 numel, numel numbers, little-endian; nothing after them.
PyTorch still writes this form when asked to (_use_new_zipfile_serialization=False).

A persistent id is ("storage", type, key, location, numel, None), or ("module", class, file, text):
a class with the source text of its module, for a warning when that has changed. Only the class is
taken; the text, which may be under any licence, is dropped as soon as it was skipped over.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from refquant.arrays.errors import BadInput
from refquant.formats.torch.globals import Storage, load, resolve
from refquant.formats.torch.pickle_machine import Global, shown
from refquant.formats.torch.tensors import Storages, itemsize
from refquant.formats.torch.unpickle import MAX_BYTES, unpickle

MAGIC = 0x1950A86A20F9469CFC6C
START = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."  # the whole first pickle
VERSION = 1001


class Stream(NamedTuple):
    """A file in this form: its object, its storages, the open file."""

    value: Any
    storages: Storages
    stream: BinaryIO


class Place(NamedTuple):
    """Where the numbers of a storage are in the file, in bytes."""

    start: int
    size: int


@contextlib.contextmanager
def open_legacy(path: Path) -> Iterator[Stream]:
    """The content of a file in this form; BadInput where it is none, or damaged."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            # All pickles lie within the first MAX_BYTES, or the file is refused.
            value, known, keys, end = pickles(stream.read(MAX_BYTES))
            places = places_of(stream, size, known, keys, end)
            held = {key: place.size for key, place in places.items()}

            def read(key: str) -> bytes:
                stream.seek(places[key].start)
                return stream.read(places[key].size)

            yield Stream(value, Storages(size, "<", held, read), stream)
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror or error})") from error


def pickles(data: bytes) -> tuple[Any, dict[str, Storage], list[Any], int]:
    """(the object, the storages that it names, the keys in order, the position behind them).

    data    begins with START
    """
    known: dict[str, Storage] = {}

    def remember(reference: Any) -> Any:
        return loaded(reference, known)

    version, position = unpickle(data, resolve, no_reference, len(START))
    machine, position = unpickle(data, resolve, no_reference, position)
    if type(version) is not int or version != VERSION:
        raise BadInput("pickle", f"its second number is not {VERSION}")
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise BadInput("pickle", "it was not written by a little-endian machine")
    value, position = unpickle(data, resolve, remember, position)
    keys, position = unpickle(data, resolve, no_reference, position)
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise BadInput("pickle", "its list of storages is not a list of texts")
    return value, known, keys, position


def no_reference(reference: Any) -> NoReturn:
    raise BadInput("pickle", "a persistent id outside of the object")


def loaded(reference: Any, known: dict[str, Storage]) -> Global | Storage:
    """What a persistent id stands for; storages are noted in `known`."""
    length = len(reference) if type(reference) is tuple else 0
    if length == 4 and reference[0] == "module" and type(reference[1]) is Global:
        return reference[1]
    if length != 6 or reference[5] is not None:
        raise BadInput("pickle", "a persistent id that is no storage's and no module's")
    storage = load(reference[:5])
    if known.setdefault(storage.key, storage) != storage:
        raise BadInput("pickle", f"storage {shown(storage.key)} is told in two ways")
    return storage


def places_of(
    stream: BinaryIO, size: int, known: dict[str, Storage], keys: list[str], position: int
) -> dict[str, Place]:
    """Where each storage is: they follow one another up to the end of the file."""
    places: dict[str, Place] = {}
    for key in keys:
        if key in places or key not in known:
            raise BadInput("storages", f"{shown(key)} is listed, but not once and used")
        stream.seek(position)
        numel = int.from_bytes(stream.read(8), "little", signed=True)
        place = Place(position + 8, numel * itemsize(known[key].type))
        position = place.start + place.size
        if numel != known[key].numel or position > size:
            problem = f"storage {shown(key)} has {numel} numbers, {known[key].numel} are due"
            raise BadInput("storages", problem, "the file is cut off or damaged")
        places[key] = place
    if position != size:
        raise BadInput("storages", f"{size - position} bytes follow the last one")
    return places
