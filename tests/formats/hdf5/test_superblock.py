"""The first bytes of HDF5 files: those that h5py writes, and those kept from the library."""

import io

import h5py
import pytest

from refquant.arrays.errors import BadInput
from refquant.formats.hdf5.superblock import check_superblock, is_plain

FORMS = ("earliest", "v108", "v110", "latest")  # versions 0, 2, 3 and 3


def written(form: str, **options) -> bytearray:
    image = io.BytesIO()
    with h5py.File(image, "w", libver=form, **options) as file:
        file["x"] = 1.0
    return bytearray(image.getvalue())


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return bytes(data[:at] + new + data[at + len(new) :])


def test_the_superblock_of_a_worked_example():
    start = b"\x89HDF\r\n\x1a\n\x03\x08\x08\x00" + bytes(8) + b"\xff" * 8 + bytes(68)
    assert is_plain(start)
    assert not is_plain(changed(start, 20, b"\x30" + bytes(7)))  # an extension at byte 48


@pytest.mark.parametrize("form", FORMS)
def test_what_h5py_writes_is_accepted(form, tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(written(form))
    check_superblock(path)


def test_version_1_has_its_addresses_four_bytes_further_on(tmp_path):
    data = written("earliest")
    later = changed(data, 8, b"\1")[:24] + b"\x20\0\0\0" + bytes(data[24:])
    assert is_plain(later)
    assert not is_plain(changed(later, 52, bytes(8)))


CHANGES = {
    "another version": ("latest", 8, b"\x04"),
    "a driver's block": ("earliest", 48, b"\x19" + bytes(7)),
    "free space": ("earliest", 32, bytes(8)),
    "addresses of 4 bytes, old": ("earliest", 13, b"\x04"),
    "addresses of 4 bytes, new": ("latest", 9, b"\x04"),
    "a base, old": ("earliest", 24, b"\1"),
    "a base, new": ("latest", 12, b"\1"),
}


@pytest.mark.parametrize("form, at, new", CHANGES.values(), ids=CHANGES.keys())
def test_what_leads_elsewhere_is_refused(form, at, new, tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(changed(written(form), at, new))
    with pytest.raises(BadInput, match="its superblock is damaged, or has"):
        check_superblock(path)


def test_an_extension_that_was_asked_for_is_refused(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(written("latest", fs_strategy="page", fs_persist=True))
    with pytest.raises(BadInput, match="extension"):
        check_superblock(path)


def test_a_file_that_ends_in_its_superblock_is_refused(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(written("latest")[:40])
    with pytest.raises(BadInput, match="is cut off"):
        check_superblock(path)
