"""The container of a checkpoint: a ZIP archive whose members are stored, not compressed.

    name/data.pkl           the pickled object                     (`name` may be any folder)
    name/data/0, 1, ...     one storage each: raw numbers, nothing else
    name/byteorder          "little" or "big"; absent in older files, which are little

The list of members is at the end of the file, one record each with name, size, checksum and
place. Nothing in it is believed: members must lie inside of the file and may not overlap, names
occur only once, and a member's own header must be where the list says. So no member is larger
than the file.

Source  PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16; without ZIP64, which only files
        of more than 4 GiB need.
"""

import contextlib
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from refquant.arrays.errors import BadInput

END = struct.Struct("<4s4H2LH")  # at the file's end: where the list is
RECORD = struct.Struct("<4s6H3L5H2L")  # of the list, before a name
HEADER = struct.Struct("<4s5H3L2H")  # of a member, before its name
LONGEST_COMMENT = 2**16 - 1
ENCRYPTED, STORED = 1, 0  # a bit of the flags, and a method
CHUNK = 2**20  # bytes hashed at once

RESAVE = "if you trust it, load and save it once with PyTorch 1.6 or newer"
DOWNLOAD = "download or copy it again"
OTHER_FILES = (  # place, bytes at that place, what such a file is, remedy
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run git lfs pull"),
    (257, b"ustar", "in PyTorch's tar form before 0.1.10", RESAVE),
    (0, b"<", "a web page, not a checkpoint", DOWNLOAD),
    (0, b"PK\3\4", "a ZIP archive that is cut off", DOWNLOAD),
)


class Member(NamedTuple):
    """A file in the archive: its record in the list, and where the next member begins."""

    name: str
    place: int
    limit: int
    size: int
    packed: int
    method: int
    flags: int
    checksum: int


class Archive(NamedTuple):
    """An open checkpoint of `size` bytes; member names are relative to its top folder."""

    path: Path
    stream: BinaryIO
    size: int
    members: Mapping[str, Member]


@contextlib.contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[Archive]:
    """The archive of a checkpoint, its list of members checked; BadInput if the file is none."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise BadInput(path, "is not a regular file", "name a .pt file")
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            members = list_of_members(path, stream, size)
            yield Archive(path, stream, size, below_top_folder(path, members))
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror or error})") from error


def damaged(path: Path, problem: str) -> BadInput:
    return BadInput(path, f"its ZIP archive is damaged, {problem}", DOWNLOAD)


def list_of_members(path: Path, stream: BinaryIO, size: int) -> dict[str, Member]:
    """All members by their full names, each inside of the file and clear of the others."""
    stream.seek(max(0, size - END.size - LONGEST_COMMENT))
    tail = stream.read()
    found = tail.rfind(b"PK\5\6", 0, len(tail) - END.size + 4)
    if found < 0:
        raise not_an_archive(path, stream)
    _, _, _, _, count, length, start, _ = END.unpack_from(tail, found)
    if start + length > size - len(tail) + found:
        raise damaged(path, "its list of members does not fit into the file")
    stream.seek(start)
    members = sorted(records(path, stream.read(length), count), key=lambda member: member.place)
    limits = [member.place for member in members[1:]] + [start]
    placed = [member._replace(limit=limit) for member, limit in zip(members, limits)]
    for member in placed:
        if member.place + HEADER.size + len(member.name) + member.packed > member.limit:
            raise damaged(path, f"member {member.name!r} overlaps another or leaves the file")
    by_name = {member.name: member for member in placed}
    if len(by_name) < len(placed):
        raise damaged(path, "two members have the same name")
    return by_name


def records(path: Path, listed: bytes, count: int) -> list[Member]:
    """The `count` records of the list."""
    members, position = [], 0
    for _ in range(count):
        if listed[position : position + 4] != b"PK\1\2" or position + RECORD.size > len(listed):
            raise damaged(path, "its list of members is not readable")
        fields = RECORD.unpack_from(listed, position)
        flags, method, checksum, packed, size = fields[3], fields[4], *fields[7:10]
        begin = position + RECORD.size
        name = listed[begin : begin + fields[10]].decode("latin-1")  # checkpoints have ASCII names
        members.append(Member(name, fields[16], 0, size, packed, method, flags, checksum))
        position = begin + sum(fields[10:13])
    return members


def not_an_archive(path: Path, stream: BinaryIO) -> BadInput:
    """What the file is instead, as far as its first bytes tell."""
    stream.seek(0)
    start = stream.read(512)
    for place, signature, what, remedy in OTHER_FILES:
        if start[place:].startswith(signature):
            return BadInput(path, f"it is {what}", remedy)
    what = f"it begins with {start[:8]!r}" if start else "it is empty"
    return BadInput(path, f"it is no PyTorch checkpoint, {what}", "give a .pt file")


def below_top_folder(path: Path, members: Mapping[str, Member]) -> dict[str, Member]:
    """The members beside data.pkl, without the folder that they all lie in."""
    pickles = [name for name in members if f"/{name}".endswith("/data.pkl")]
    if len(pickles) != 1:
        problem = f"its ZIP archive holds {len(pickles)} files data.pkl instead of one"
        raise BadInput(path, f"it is no PyTorch checkpoint, {problem}", "give a .pt file")
    top = pickles[0].removesuffix("data.pkl")
    inside = {name.removeprefix(top): m for name, m in members.items() if name.startswith(top)}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        remedy = "give the checkpoint that it was made from"
        raise BadInput(path, "it is a TorchScript program, not a checkpoint", remedy)
    return inside


def read_member(archive: Archive, name: str) -> bytes:
    """The bytes of a member, checked against its checksum."""
    path, stream, member = archive.path, archive.stream, archive.members[name]
    if member.flags & ENCRYPTED or member.method != STORED or member.packed != member.size:
        problem = f"its member {name!r} is compressed or encrypted"
        raise BadInput(path, problem, "unpack it and pack it again with zip -0 -r")
    stream.seek(member.place)
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size or not header.startswith(b"PK\3\4"):
        raise damaged(path, f"member {name!r} is not where the list says")
    fields = HEADER.unpack(header)
    start = member.place + HEADER.size + fields[9] + fields[10]
    stream.seek(start)
    if start + member.size > member.limit:
        raise damaged(path, f"member {name!r} is longer than its place")
    data = stream.read(member.size)
    if zlib.crc32(data) != member.checksum:
        raise damaged(path, f"the checksum of member {name!r} is wrong")
    return data


def sha256_of(stream: BinaryIO) -> str:
    """The SHA-256 of a whole open file, in hexadecimal digits."""
    stream.seek(0)
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
