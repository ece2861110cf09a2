"""Goldens: what is recorded, that it is the same everywhere, and that damage is seen."""

import hashlib
import io
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_model import STEM, small_model

from refquant.arrays.errors import BadInput
from refquant.cli.main import main
from refquant.engine.walk import walk
from refquant.formats.catalogue import save_model
from refquant.graph.architecture import build
from refquant.verification.golden.file import content_sha256, digest, open_golden, statistics
from refquant.verification.golden.record import record_golden
from refquant.verification.golden.sink import Stream


@pytest.fixture(scope="module")
def model():
    return build("yolov7-tiny", 1 / 8, classes=2)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(3).random((1, 3, 64, 64), np.float32)


@pytest.fixture(scope="module")
def golden(model, x, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("golden") / "g.h5"
    record_golden(model, x, path)
    return path


def test_content_sha256_of_a_worked_example():
    two = np.array([1.0, -2.0], np.float32)
    assert digest(two) == hashlib.sha256(bytes.fromhex("0000803f000000c0")).hexdigest()
    text = '[["a","<f4",[2],"00"],["b","<f4",[1,2],"11"]]'
    entries = [("b", "<f4", (1, 2), "11"), ("a", "<f4", (2,), "00")]
    assert content_sha256(entries) == hashlib.sha256(text.encode()).hexdigest()


def test_statistics_of_a_worked_example():
    y = np.array([3.0, -4.0, np.nan, np.inf], np.float32)
    expected = {"nonfinite": 2, "min": -4.0, "max": 3.0, "mean": -0.5, "rms": 12.5**0.5}
    assert statistics(y) == expected
    assert statistics(y[2:])["rms"] is None


def test_every_output_is_there_to_the_bit(golden, model, x):
    with open_golden(golden) as opened:
        assert np.array_equal(opened.output("images"), x)
        walked = list(walk(model, x))
        assert list(opened.records) == ["images", *(node.name for node, _ in walked)]
        for node, y in walked:
            assert opened.output(node.name).tobytes() == y.tobytes()
            assert opened.records[node.name].inputs == node.inputs


def test_the_model_comes_back_and_gives_the_same_golden(golden, x, tmp_path):
    with open_golden(golden) as opened:
        again = record_golden(opened.model(), x, tmp_path / "again.h5")
        assert again == opened.root["content_sha256"]
    assert (tmp_path / "again.h5").read_bytes() == golden.read_bytes()


@pytest.mark.parametrize("keep", [(), ("model.0.conv", "model.7*")])
def test_the_hash_does_not_depend_on_what_is_kept(golden, model, x, tmp_path, keep):
    with open_golden(golden) as opened:
        whole = opened.root["content_sha256"]
    assert record_golden(model, x, tmp_path / "g.h5", keep=keep, with_model=False) == whole
    assert record_golden(model, x, tmp_path / "g.npz", keep=keep, npz=True) == whole
    with open_golden(tmp_path / "g.h5") as opened:
        kept = [name for name in opened.records if opened.has(name)]
        assert ("model.0.conv" in kept) == bool(keep)
        assert "images" in kept
        assert len(kept) < len(opened.records)


def test_another_weight_or_another_pixel_gives_another_hash(x, tmp_path):
    first = record_golden(small_model(), x, tmp_path / "a.h5")
    other = x.copy()
    other[0, 0, 0, 0] = np.nextafter(other[0, 0, 0, 0], np.float32(2))
    assert record_golden(small_model(), other, tmp_path / "b.h5") != first
    weight = np.array(small_model().nodes[0].arrays["weight"])
    weight[0, 0, 0, 0] = np.nextafter(weight[0, 0, 0, 0], np.float32(9))
    assert record_golden(small_model(weight), x, tmp_path / "c.h5") != first


def test_the_npz_holds_the_same_arrays(model, x, tmp_path):
    record_golden(model, x, tmp_path / "g.npz", npz=True)
    with np.load(tmp_path / "g.npz") as arrays:
        root = json.loads(arrays["golden.json"].tobytes())
        for node, y in walk(model, x):
            assert np.array_equal(arrays[node.name], y)
            assert root["nodes"][node.name]["sha256"] == digest(y)


def test_a_picture_is_letterboxed_and_detections_lie_in_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    record_golden(small_model(), pixels, tmp_path / "g.h5", size=64)
    with open_golden(tmp_path / "g.h5") as opened:
        assert opened.records["images"].shape == (1, 3, 32, 64)
        assert opened.root["image"]["net"] == [32, 64]
        boxes = opened.array("images", "boxes")
        assert boxes.min() >= 0
        assert (boxes[:, 2] <= 96).all()


def test_a_changed_output_is_refused_by_name(golden, tmp_path):
    path = tmp_path / "changed.h5"
    path.write_bytes(golden.read_bytes())
    with h5py.File(path, "r+") as file:
        file["model.0.conv/output"][0, 0, 0, 0] += 1
    with open_golden(path) as opened:
        assert opened.output("model.1.conv").size
        with pytest.raises(BadInput, match=r"model\.0\.conv.*sha256"):
            opened.output("model.0.conv")


def test_a_changed_record_is_refused(golden, tmp_path):
    path = tmp_path / "changed.h5"
    path.write_bytes(golden.read_bytes())
    with h5py.File(path, "r+") as file:
        text = file["model.0.conv"].attrs["node"].decode()
        sha = json.loads(text)["sha256"]
        file["model.0.conv"].attrs.create("node", np.bytes_(text.replace(sha, "0" * 64)))
    with pytest.raises(BadInput, match="content_sha256"), open_golden(path):
        pass


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_cut_file_is_bad_input(golden, tmp_path, share):
    path = tmp_path / "cut.h5"
    content = golden.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInput), open_golden(path):
        pass


def test_a_model_file_is_no_golden(tmp_path):
    save_model(small_model(), tmp_path / "m.h5")
    with pytest.raises(BadInput), open_golden(tmp_path / "m.h5"):
        pass


def test_a_full_disk_is_one_error_and_no_file(tmp_path, monkeypatch, x):
    written = Stream.write

    def full(self, data):
        return written(self, data)

    def out_of_space(self, data):
        if self.error is None and self.tell() > 4096:
            self.error = OSError(28, "No space left on device")
        return written(self, data)

    monkeypatch.setattr(Stream, "write", full)
    record_golden(small_model(), x, tmp_path / "fits.h5")
    monkeypatch.setattr(Stream, "write", out_of_space)
    with pytest.raises(BadInput, match="No space"):
        record_golden(small_model(), x, tmp_path / "g.h5")
    assert os.listdir(tmp_path) == ["fits.h5"]


class Half(io.BytesIO):
    """A file that takes half of what it is given, as a raw one may."""

    def write(self, data):
        return super().write(memoryview(data)[: (len(data) + 1) // 2])


def test_a_file_that_takes_a_part_gets_the_rest():
    stream = Stream(Half())
    assert stream.write(b"0123456789") == 10
    assert stream.write(b"") == 0
    stream.check()
    assert stream.file.getvalue() == b"0123456789"


def test_the_verb_writes_what_it_says(capsys, tmp_path, x):
    save_model(small_model(), tmp_path / "m.h5")
    np.save(tmp_path / "x.npy", x)
    command = ["golden", str(tmp_path / "m.h5"), str(tmp_path / "x.npy"), "--json", "-o"]
    assert main([*command, str(tmp_path / "g.h5"), "--keep", STEM]) == 0
    result = json.loads(capsys.readouterr().out)
    with open_golden(tmp_path / "g.h5") as opened:
        assert opened.root["content_sha256"] == result["content_sha256"]
        assert opened.has(STEM)
    assert main([*command, str(tmp_path / "g.npz")]) == 3
    assert main([*command, str(tmp_path / "g.h5"), "--keep", "nothing*"]) == 3
    assert "nothing*" in capsys.readouterr().err
