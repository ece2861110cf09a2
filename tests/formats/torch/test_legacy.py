"""The form before PyTorch 1.6: the same model as from the archive, and no lie gets through."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from make_checkpoint import HEADS, network, stripped, write
from pickle_writer import Name, Outside, dumps
from small_model import same
from state_dict_writer import SOURCE_TEXT, save_legacy
from torch_objects import Objects

from refquant.arrays.errors import BadInput
from refquant.formats.catalogue import load_model, save_model
from refquant.formats.torch.checkpoint import read
from refquant.formats.torch.legacy import START, open_legacy


def made(path, head="IDetect", **changes):
    """A checkpoint of YOLOv7-tiny in this form."""
    objects = Objects()
    value = stripped(objects.model(network("yolov7-tiny", head=head), head))
    return save_legacy(path, value, objects, **changes)


def one_tensor(path, reference=None, **changes):
    """The smallest file: a list of two numbers in a storage of three."""
    objects = Objects()
    objects.tensor(np.array([1, 2, 3], np.float32))
    storage = ("storage", Name("torch", "FloatStorage"), "0", "cpu", 3)
    return save_legacy(path, [Outside(reference or storage)], objects, **changes)


def test_a_worked_example(tmp_path):
    """Three float32 numbers: their storage is 8 bytes of length and 12 of content, at the end."""
    path = one_tensor(tmp_path / "x.pt")
    assert path.read_bytes().startswith(START)
    assert path.read_bytes()[-20:] == struct.pack("<q3f", 3, 1, 2, 3)
    with open_legacy(path) as stream:
        assert (stream.storages.held, stream.storages.order) == ({"0": 12}, "<")
        assert struct.unpack("<3f", stream.storages.read("0")) == (1, 2, 3)
        assert [storage.numel for storage in stream.value] == [3]


@pytest.mark.parametrize("head", HEADS)
def test_the_model_is_that_of_the_archive(tmp_path, head):
    old, new = made(tmp_path / "old.pt", head), write(tmp_path / "x", "yolov7-tiny", head=head)
    for fold in (True, False):
        found, expected = load_model(old, fold=fold), load_model(new, fold=fold)
        assert found.source["name"] == "old.pt"
        assert found.source["sha256"] != expected.source["sha256"]
        assert same(replace(found, source={}), replace(expected, source={}))


def test_the_content_hash_is_that_of_the_archive(tmp_path):
    old, new = made(tmp_path / "old.pt"), write(tmp_path / "new", "yolov7-tiny", head="IDetect")
    hashes = [save_model(load_model(path), tmp_path / "x.h5") for path in (old, new)]
    assert hashes[0] == hashes[1]


def test_source_texts_go_nowhere(tmp_path):
    path = made(tmp_path / "x.pt")
    assert path.read_bytes().count(SOURCE_TEXT.encode()) == 1  # later ones from the memo
    model = load_model(path)
    save_model(model, tmp_path / "x.h5")
    assert b"stranger" not in (tmp_path / "x.h5").read_bytes()
    assert "stranger" not in repr(model.source) + model.licence
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadInput) as caught:
        read(path)
    shown = caught.value
    while shown is not None:
        assert "stranger" not in str(shown)
        shown = shown.__cause__


HALF = ("storage", Name("torch", "HalfStorage"), "0", "cpu", 3)
FLOAT = ("storage", Name("torch", "FloatStorage"), "0", "cpu", 3)
REFUSED = {
    "another version": ({"version": dumps(1002)}, "second number is not 1001"),
    "a version that is no number": ({"version": dumps([])}, "second number is not 1001"),
    "a big-endian machine": ({"machine": dumps({"little_endian": False})}, "little-endian"),
    "no machine": ({"machine": dumps(3)}, "little-endian"),
    "a reference where there is none": ({"keys": dumps([Outside(FLOAT)])}, "outside of"),
    "keys that are no list": ({"keys": dumps({"0": 1})}, "not a list of texts"),
    "keys that are no texts": ({"keys": dumps([0])}, "not a list of texts"),
    "a key that nobody uses": ({"keys": dumps(["0", "1"])}, "'1' is listed"),
    "a key twice": ({"keys": dumps(["0", "0"])}, "'0' is listed"),
    "another length": ({"storages": struct.pack("<q3f", 2, 1, 2, 3)}, "has 2 numbers, 3 are due"),
    "a negative length": ({"storages": struct.pack("<q3f", -1, 1, 2, 3)}, "has -1 numbers"),
    "a length beyond the file": ({"storages": struct.pack("<q", 2**62)}, "are due"),
    "a storage that is cut off": ({"storages": struct.pack("<q2f", 3, 1, 2)}, "cut off"),
    "a length that is cut off": ({"storages": b"\3"}, "cut off"),
    "bytes behind the end": ({"rest": b"x"}, "1 bytes follow"),
    "a pickle that is cut off": ({"keys": b"", "storages": b""}, "pickle"),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_stream_that_lies_is_refused_in_one_line(tmp_path, changes, words):
    path = one_tensor(tmp_path / "x.pt", **changes)
    with pytest.raises(BadInput, match=words) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "reference",
    [
        ("storage", Name("torch", "FloatStorage"), "0", "cpu", 3, ("1", 0, 2)),  # a view
        ("storage", Name("torch", "FloatStorage"), "0", "cpu"),
        ("module", "models.common.Conv", "file", "text"),
        ("elsewhere",),
    ],
)
def test_other_references_are_refused(tmp_path, reference):
    with pytest.raises(BadInput, match="persistent id"):
        load_model(one_tensor(tmp_path / "x.pt", reference))


def test_a_storage_that_is_told_in_two_ways_is_refused(tmp_path):
    objects = Objects()
    objects.tensor(np.zeros(3, np.float32))
    path = save_legacy(tmp_path / "x.pt", [Outside(FLOAT), Outside(HALF)], objects)
    with pytest.raises(BadInput, match="'0' is told in two ways"):
        load_model(path)


def test_another_magic_number_is_no_checkpoint(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(dumps(2**79))
    with pytest.raises(BadInput, match="it is no PyTorch checkpoint"):
        load_model(path)


def test_missing_storages_are_named(tmp_path):
    path = made(tmp_path / "x.pt", keys=dumps([]), storages=b"")
    with pytest.raises(BadInput, match=r"missing storages: 0 \(model.0.conv.weight\)"):
        load_model(path)
