"""HDF5 files from strangers: objects that no model file has, and damaged or forged bytes."""

import json
import random
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
from hostile_hdf5 import Change, changed, extra, message
from places import ROOT
from small_model import HEAD, STEM, quantized, same, saved, small_model

from refquant.arrays.errors import BadInput
from refquant.formats.catalogue import load_model, save_model
from refquant.formats.hdf5 import store as hdf5

# Objects that no model file has. They are found before the content is looked at.


def low_level(name: str, dtype: Any = np.float32, shape: tuple[int, ...] = (4,)) -> Change:
    """A dataset whose creation properties are set by `low_level.<name>` of LAYOUTS."""

    def change(file: h5py.File) -> None:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        LAYOUTS[name](how)
        space = h5py.h5s.create_simple(shape)
        kind = h5py.h5t.py_create(np.dtype(dtype))
        dataset = h5py.h5d.create(file[STEM].id, b"extra", kind, space, dcpl=how)
        if name == "compact":
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.zeros(shape, dtype))

    return change


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "compact": lambda how: how.set_layout(h5py.h5d.COMPACT),
    "chunked": lambda how: how.set_chunk((2,)),
    "external": lambda how: how.set_external(b"/etc/passwd", 0, 16),
    "not stored": lambda how: how.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE),
}


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file[STEM].create_virtual_dataset("extra", layout)


def soft_link(file: h5py.File) -> None:
    file["extra"] = h5py.SoftLink(f"/{STEM}")


def soft_link_to_array(file: h5py.File) -> None:
    file[f"{STEM}/extra"] = h5py.SoftLink("bias")


def dangling_link(file: h5py.File) -> None:
    file[f"{STEM}/extra"] = h5py.SoftLink("/nowhere")


def external_link(file: h5py.File) -> None:
    file["extra"] = h5py.ExternalLink("/etc/passwd", "/")


def cycle(file: h5py.File) -> None:
    file["extra"] = file["/"]


def second_name(file: h5py.File) -> None:
    file["extra"] = file[STEM]


def second_name_of_array(file: h5py.File) -> None:
    file[f"{STEM}/extra"] = file[f"{HEAD}/bias"]


def group_in_group(file: h5py.File) -> None:
    file.create_group(f"{STEM}/extra")


def array_in_root(file: h5py.File) -> None:
    file["extra"] = np.zeros(4, np.float32)


def named_type(file: h5py.File) -> None:
    file["extra"] = np.dtype("f4")


def of_named_type(file: h5py.File) -> None:
    file["kind"] = np.dtype("<f4")
    file.create_dataset(f"{STEM}/extra", data=np.zeros(4, "f4"), dtype=file["kind"])
    del file["kind"]


def attribute(owner: str, name: str, value: Any) -> Change:
    def change(file: h5py.File) -> None:
        if name in file[owner].attrs:
            del file[owner].attrs[name]
        file[owner].attrs[name] = value

    return change


def no_attribute(owner: str, name: str) -> Change:
    def change(file: h5py.File) -> None:
        del file[owner].attrs[name]

    return change


def many_arrays(file: h5py.File) -> None:
    for i in range(17):
        file[f"{STEM}/x{i}"] = np.zeros(1, np.float32)


REFERENCE = h5py.special_dtype(ref=h5py.Reference)
OBJECTS: dict[str, tuple[Change, str]] = {
    "a soft link": (soft_link, "/extra: is a soft or external link"),
    "a soft link to an array": (soft_link_to_array, f"{STEM}/extra: is a soft or external"),
    "a dangling link": (dangling_link, f"{STEM}/extra: is a soft or external link"),
    "an external link": (external_link, "/extra: is a soft or external link"),
    "a cycle": (cycle, "/extra: is a second name of an object"),
    "a second name": (second_name, "is a second name of an object"),
    "a second name of an array": (second_name_of_array, "is a second name of an object"),
    "a group in a group": (group_in_group, f"{STEM}/extra: is a group, not a dataset"),
    "an array in the root": (array_in_root, "/extra: is a dataset, not a group"),
    "a named type": (named_type, "/extra: is a named type, not a group"),
    "an array of a named type": (of_named_type, "has a type that no model file has"),
    "a second attribute": (attribute(STEM, "x", 1), f"{STEM}: must have one attribute, node"),
    "another attribute": (no_attribute(STEM, "node"), "must have one attribute, node"),
    "no root attribute": (no_attribute("/", "model"), "root: must have one attribute, model"),
    "an attribute of an array": (attribute(f"{STEM}/bias", "x", 1), "bias: has attributes"),
    "a number as JSON": (attribute(STEM, "node", 1), "is not one string of fixed length"),
    "a list as JSON": (attribute(STEM, "node", [b"{}"]), "is not one string of fixed length"),
    "a variable string": (attribute(STEM, "node", "{}"), "is not one string of fixed length"),
    "no string": (attribute(STEM, "node", h5py.Empty("S4")), "is not one string of fixed length"),
    "a long string": (attribute(STEM, "node", np.bytes_(b" " * 2**21)), "have more than 1048576"),
    "compact storage": (low_level("compact"), f"{STEM}/extra: has compact storage"),
    "chunked storage": (low_level("chunked"), "has chunked storage"),
    "storage in other files": (low_level("external"), "has its bytes in another file"),
    "no storage": (low_level("not stored"), "needs 16 bytes, which are not there"),
    "no storage for a terabyte": (
        low_level("not stored", shape=(2**20, 2**18)),
        "needs 1099511627776 bytes, which are not there",
    ),
    "a virtual dataset": (virtual, "has virtual storage"),
    "compressed data": (extra(data=np.zeros(4), compression="gzip"), "has chunked storage"),
    "resizable data": (extra(data=np.zeros(4), maxshape=(None,)), "has chunked storage"),
    "variable strings": (extra(data=["a", "b"]), "has a type that no model file has"),
    "references": (extra(shape=(2,), dtype=REFERENCE), "has a type that no model file has"),
    "records": (extra(data=np.zeros(2, "f4,f4")), "has a type that no model file has"),
    "float64": (extra(data=np.zeros(2, "f8")), "has a type that no model file has"),
    "big-endian numbers": (extra(data=np.zeros(2, ">f4")), "has a type that no model file has"),
    "a scalar": (extra(data=np.float32(1)), "is not an array"),
    "nothing": (extra(dtype="f4"), "is not an array"),
    "an array of size 0": (extra(shape=(0, 4), dtype="f4"), "sizes above 0"),
    "five dimensions": (extra(data=np.zeros((1,) * 5, "f4")), "1 to 4 fixed sizes"),
    "a strange name": (lambda file: file.create_group("a b"), "is no name of a group"),
    "a name beyond ASCII": (lambda file: file.create_group("é"), "is no name of a group"),
    "a long name": (lambda file: file.create_group("a" * 201), "is no name of a group"),
    "a strange name of an array": (
        lambda file: file[STEM].create_dataset("Extra", data=np.zeros(4, "f4")),
        "is no name of a dataset",
    ),
    "many arrays": (many_arrays, f"{STEM}: has more than 16 entries"),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_objects_that_no_model_file_has_are_refused(case, tmp_path):
    change, expected = OBJECTS[case]
    assert expected in message(changed(tmp_path, small_model(), change, fit=False))


def test_a_file_that_was_opened_for_writing_and_not_changed_is_still_good(tmp_path):
    path = changed(tmp_path, small_model(), lambda file: None, fit=True)
    assert load_model(path).nodes[0].name == STEM


def test_more_nodes_than_a_model_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("refquant.formats.hdf5.check.MOST_NODES", 3)
    path = changed(tmp_path, small_model(), lambda file: None, fit=False)
    assert "has more than 3 entries" in message(path)


def test_the_json_of_all_nodes_together_is_limited(tmp_path):
    """A megabyte of "[]," is 22 MB of lists: a file of many such nodes must not be believed."""

    def change(file: h5py.File) -> None:
        for i in range(3):
            file.create_group(f"x{i}").attrs["node"] = np.bytes_(b" " * 2**19)

    path = changed(tmp_path, small_model(), change, fit=False)
    assert "attributes node have more than 1048576 bytes" in message(path)


# Damage


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    """The bytes of a quantized model's file."""
    path = tmp_path_factory.mktemp("good") / "model.h5"
    save_model(quantized(), path)
    return path.read_bytes()


def test_a_file_that_is_cut_off_anywhere_is_refused(good, tmp_path):
    path = tmp_path / "cut.h5"
    cuts = {*range(0, 64, 7), *np.linspace(0, len(good) - 1, 80).astype(int), len(good) - 1}
    for size in cuts:
        path.write_bytes(good[:size])
        assert message(path)
    path.write_bytes(good)
    assert load_model(path)


def test_a_flipped_bit_is_found_or_lies_where_nothing_is_stored(good, tmp_path):
    path = tmp_path / "flipped.h5"
    chance = random.Random(1)
    refused = 0
    for _ in range(300):
        damaged = bytearray(good)
        damaged[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            save_model(load_model(path), tmp_path / "again.h5")
            assert (tmp_path / "again.h5").read_bytes() == good
        except BadInput as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            refused += 1
    assert refused > 200


@pytest.mark.parametrize("name", ["codes", "scale", "zero_point", "bias"])
def test_a_flipped_bit_in_the_data_is_found_by_the_content_hash(name, good, tmp_path):
    path = tmp_path / "flipped.h5"
    path.write_bytes(good)
    with h5py.File(path) as file:
        where = file[STEM][name].id.get_offset()
    damaged = bytearray(good)
    damaged[where] ^= 1
    path.write_bytes(damaged)
    text = message(path)
    with h5py.File(path) as file:
        expected = json.loads(file.attrs["model"])["content_sha256"]
    assert ": content_sha256 is " in text and f"expected '{expected}'" in text


def test_a_table_of_names_that_leads_back_to_itself_is_not_followed_for_ever(tmp_path):
    """A root in the oldest form, whose table is its own right neighbour."""
    path = tmp_path / "loop.h5"
    with (
        h5py.File(saved(small_model(), tmp_path)) as new,
        h5py.File(path, "w", libver="earliest") as old,
    ):
        old.attrs.create("model", new.attrs["model"])
        for name in new:
            new.copy(name, old)
    data = bytearray(path.read_bytes())
    table = data.index(b"TREE")
    data[table + 16 : table + 24] = struct.pack("<Q", table)
    path.write_bytes(data)
    command = [sys.executable, "-m", "refquant", "info", path]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode in (0, 3)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"cannot be read \(No such file or directory\)"):
        hdf5.read(tmp_path / "missing.h5")


def test_other_content_before_the_file_is_refused(good, tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(b"#!/bin/sh".ljust(512) + good)
    assert h5py.is_hdf5(path)
    assert "does not begin as an HDF5 file does" in message(path)


def checksum(data: bytes) -> int:
    """Jenkins' lookup3, with which HDF5 guards its headers."""
    mask = 0xFFFFFFFF
    w = [(0xDEADBEEF + len(data)) & mask] * 3
    blocks = -(-len(data) // 12)
    words = struct.unpack(f"<{3 * blocks}I", data.ljust(12 * blocks, b"\0"))

    def turned(value: int, by: int) -> int:
        return (value << by | value >> (32 - by)) & mask

    for k in range(blocks):
        w = [(x + y) & mask for x, y in zip(w, words[3 * k : 3 * k + 3], strict=True)]
        if k < blocks - 1:
            for i, by in enumerate((4, 6, 8, 16, 19, 4)):
                x, y, z = i % 3, (i + 2) % 3, (i + 1) % 3
                w[x] = (w[x] - w[y] & mask) ^ turned(w[y], by)
                w[y] = w[y] + w[z] & mask
    for i, by in enumerate((14, 11, 25, 16, 4, 14, 24)):
        x, y = (i + 2) % 3, (i + 1) % 3
        w[x] = (w[x] ^ w[y]) - turned(w[y], by) & mask
    return w[2]


def test_the_checksum_is_that_of_the_superblock(good):
    assert struct.pack("<I", checksum(good[:44])) == good[44:48]


def test_arrays_that_share_their_bytes_cannot_make_a_small_file_large(tmp_path):
    # A header of a dataset that was never written, its address forged to be that of another one.
    def unwritten(file: h5py.File) -> None:
        file[STEM].create_dataset("a", data=np.ones(10_000, "f4"), track_times=False)
        file[STEM].create_dataset("b", shape=(10_000,), dtype="f4", track_times=False)

    path = changed(tmp_path, small_model(), unwritten, fit=False)
    assert "b: shape (10000,) needs 40000 bytes, which are not there" in message(path)
    with h5py.File(path) as file:
        real = struct.pack("<Q", file[STEM]["a"].id.get_offset())
        start = h5py.h5o.get_info(file[STEM].id, b"b").addr
    forged = bytearray(path.read_bytes())
    nowhere = struct.pack("<QQ", 2**64 - 1, 40_000)
    place = forged.index(nowhere, start)
    forged[place : place + 8] = real
    width = 1 << (forged[start + 5] & 3)  # of the number that says how long the header is
    first = start + 6 + width
    end = first + int.from_bytes(forged[start + 6 : first], "little")
    forged[end : end + 4] = struct.pack("<I", checksum(bytes(forged[start:end])))
    path.write_bytes(forged)
    with h5py.File(path) as file:
        assert file[STEM]["b"][...].tolist() == [1.0] * 10_000  # HDF5 itself is content
    assert "b: 40000 bytes do not fit a file of" in message(path)


def test_the_way_to_read_a_suspicious_file_is_as_the_page_says(tmp_path):
    """SECURITY.md's command: another process, little memory; what it wrote is the model."""
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ *(\(ulimit .*)$", page, re.MULTILINE)
    saved(small_model(), tmp_path, "suspicious.h5")
    run = command.replace("refquant", f"{sys.executable} -m refquant")
    subprocess.run(run, shell=True, check=True, cwd=tmp_path, capture_output=True)
    assert same(load_model(tmp_path / "clean.h5"), small_model())
