"""The container: what it holds is found, and no archive that lies gets through."""

import hashlib
import io
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from torch_objects import archive

from refquant.arrays.errors import BadInput
from refquant.formats.torch.archive import open_archive, read_member, sha256_of

MEMBERS = {"top/data.pkl": b"N.", "top/byteorder": b"little", "top/data/0": bytes(range(100))}


def members_of(path) -> dict[str, bytes]:
    """All members of an archive, read."""
    with open_archive(path) as opened:
        return {name: read_member(opened, name) for name in opened.members}


def write(tmp_path, data: bytes):
    path = tmp_path / "x.pt"
    path.write_bytes(data)
    return path


def refused(path, words: str) -> None:
    """The file is refused in one line with its name and these words."""
    with pytest.raises(BadInput, match=words) as caught:
        members_of(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_worked_example(tmp_path):
    """The smallest archive there is: one stored member of two bytes, each field written out."""
    name, data = b"data.pkl", b"N."
    checksum = struct.pack("<L", zlib.crc32(data))
    sizes = b"\2\0\0\0\2\0\0\0"
    local = b"PK\3\4" + bytes(10) + checksum + sizes + b"\x08\0\0\0" + name + data
    record = b"PK\1\2" + bytes(12) + checksum + sizes + b"\x08\0" + bytes(16) + name
    end = b"PK\5\6" + bytes(4) + b"\1\0\1\0" + b"\x36\0\0\0" + b"\x28\0\0\0" + b"\0\0"
    assert (len(local), len(record), len(end)) == (0x28, 0x36, 22)
    assert members_of(write(tmp_path, local + record + end)) == {"data.pkl": b"N."}


def test_archives_of_the_official_form_are_read(tmp_path):
    path = write(tmp_path, archive(MEMBERS))
    assert members_of(path) == {name.removeprefix("top/"): data for name, data in MEMBERS.items()}
    with zipfile.ZipFile(path) as peer:  # the archives that the tests make are archives
        assert peer.testzip() is None


@pytest.mark.parametrize("top", ("", "archive/", "again/yolov7/"))
def test_archives_of_other_tools_are_read_in_any_top_folder(tmp_path, top):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as peer:
        peer.writestr(top + "data.pkl", b"N.")
        peer.writestr(top + "data/0", b"abc")
        peer.writestr("elsewhere.txt", b"passed over")
        peer.comment = b"a comment"
    found = members_of(path)
    assert (found["data.pkl"], found["data/0"]) == (b"N.", b"abc")


def test_the_hash_is_that_of_the_file(tmp_path):
    path = write(tmp_path, archive({"data.pkl": b"N."}))
    with open_archive(path) as opened:
        assert sha256_of(opened.stream) == hashlib.sha256(path.read_bytes()).hexdigest()


# Files that are something else.


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        made.addfile(tarfile.TarInfo("sys_info"))
    return stream.getvalue()


OTHERS = {
    "an empty file": (b"", "it is empty"),
    "a text": (b"this is no model\n", "begins with b'this is '.*give a .pt file"),
    "a Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 75587165\n",
        "Git LFS pointer.*git lfs pull",
    ),
    "a web page": (b"<!DOCTYPE html><html>", "web page.*download"),
    "the tar form": (tar(), "tar form"),
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n" + bytes(100), "no PyTorch checkpoint"),
    "random bytes": (np.random.default_rng(0).bytes(5000), "no PyTorch checkpoint"),
    "an archive of nothing": (archive({}), "0 files data.pkl"),
    "an archive of photos": (archive({"bus.jpg": b"x"}), "0 files data.pkl"),
    "two checkpoints": (archive({"a/data.pkl": b"N.", "b/data.pkl": b"N."}), "2 files data.pkl"),
    "TorchScript": (
        archive({"t/data.pkl": b"N.", "t/constants.pkl": b"N.", "t/code/__torch__.py": b""}),
        "TorchScript",
    ),
}


@pytest.mark.parametrize(("data", "words"), OTHERS.values(), ids=OTHERS.keys())
def test_another_kind_of_file_is_named(tmp_path, data, words):
    refused(write(tmp_path, data), words)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "none.pt", "cannot be read")
    refused(tmp_path, "not a regular file")


# Archives that lie.


def test_cut_archives_are_refused(tmp_path):
    whole = archive(MEMBERS)
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        with pytest.raises(BadInput):
            members_of(write(tmp_path, whole[:length]))


def test_a_compressed_member_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as peer:
        peer.writestr("archive/data.pkl", b"N" * 1000)
    refused(path, "compressed or encrypted.*zip -0 -r")


def test_a_bomb_is_not_unpacked(tmp_path):
    """A member that would unpack to 64 MiB from less than 1 MiB."""
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as peer:
        peer.writestr("archive/data.pkl", bytes(2**26))
    assert path.stat().st_size < 2**20
    refused(path, "compressed or encrypted")


def test_an_encrypted_member_is_refused(tmp_path):
    data = archive(MEMBERS).replace(struct.pack("<H", 0x808), struct.pack("<H", 0x809))
    refused(write(tmp_path, data), "compressed or encrypted")


def test_a_changed_byte_is_noticed(tmp_path):
    data = archive(MEMBERS).replace(bytes(range(100)), bytes(range(99)) + b"\0")
    refused(write(tmp_path, data), "checksum of member 'data/0' is wrong")


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    data = archive({**MEMBERS, "top/data/1": b"x"}).replace(b"top/data/1", b"top/data/0")
    refused(write(tmp_path, data), "two members have the same name")


def records_of(data: bytes) -> list[int]:
    """Where the records of the list begin."""
    return [i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"]


def changed(data: bytes, record: int, field: int, value: int) -> bytes:
    """The archive with a four-byte field of a record of its list changed."""
    place = records_of(data)[record] + field
    return data[:place] + struct.pack("<L", value) + data[place + 4 :]


@pytest.mark.parametrize("size", (101, 10**4, 2**31, 2**32 - 1))
def test_a_size_beyond_the_file_is_refused(tmp_path, size):
    data = changed(changed(archive(MEMBERS), 2, 20, size), 2, 24, size)
    refused(write(tmp_path, data), "overlaps|longer than its place|checksum")


def test_sizes_that_disagree_are_refused(tmp_path):
    refused(write(tmp_path, changed(archive(MEMBERS), 2, 24, 10**9)), "compressed")


def test_members_that_overlap_are_refused(tmp_path):
    """Members that share their bytes make much out of little."""
    data = archive(MEMBERS)
    (place,) = struct.unpack_from("<L", data, records_of(data)[1] + 42)
    refused(write(tmp_path, changed(data, 2, 42, place)), "overlaps")


@pytest.mark.parametrize("place", (1, 64, 10**6, 2**32 - 1))
def test_a_member_elsewhere_than_listed_is_refused(tmp_path, place):
    refused(write(tmp_path, changed(archive(MEMBERS), 1, 42, place)), "damaged")


def test_a_member_without_its_header_is_refused(tmp_path):
    before, first, *rest = archive(MEMBERS).split(b"PK\3\4")
    refused(
        write(tmp_path, before + b"PK\3\5" + first + b"".join(b"PK\3\4" + r for r in rest)),
        "not where the list says",
    )


def test_a_list_beyond_the_file_is_refused(tmp_path):
    data = archive(MEMBERS)
    for field, value in ((12, 2**31), (16, 2**31), (16, 2**32 - 1)):
        place = len(data) - 22 + field
        lying = data[:place] + struct.pack("<L", value) + data[place + 4 :]
        refused(write(tmp_path, lying), "list of members does not fit")


def test_more_members_than_listed_are_refused(tmp_path):
    data = archive(MEMBERS)
    lying = data[:-12] + struct.pack("<H", 65535) + data[-10:]
    refused(write(tmp_path, lying), "list of members is not readable")


def test_names_are_never_paths(tmp_path):
    """Members called "../data/0" or "/etc/x" are keys like any other; nothing is unpacked."""
    inside = tmp_path / "folder"
    inside.mkdir()
    names = ("../../evil", "/etc/evil", "top/data/../../../evil")
    data = archive({"top/data.pkl": b"N.", **dict.fromkeys(names, b"x")})
    assert members_of(write(inside, data)) == {"data.pkl": b"N.", "data/../../../evil": b"x"}
    assert [path.name for path in tmp_path.rglob("*evil*")] == []


@pytest.mark.parametrize("lie", (0, 5, 2**40, 2**64 - 1))
def test_sizes_in_the_form_for_large_files_are_refused(tmp_path, monkeypatch, lie):
    """ZIP64: the list says 2**32 - 1, and the true size, or a lie, stands in an extra field."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 4)
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as peer:
        peer.writestr("top/data.pkl", b"N" * 5)
    data = path.read_bytes()
    true = struct.pack("<QQ", 5, 5)
    assert data.count(true) == 2  # of the member's own header, and of the list
    refused(write(tmp_path, data.replace(true, struct.pack("<QQ", lie, lie))), "damaged")
