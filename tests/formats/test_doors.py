"""One model through every door: the same content, or, where a format loses some, the same boxes.

    door                         what the file holds                          compared by
    zip, legacy                  the network (.pt, both containers)           content_sha256
    names, legacy names          its tensors by name, with --arch             content_sha256
    safetensors                  the same                                     content_sha256
    hdf5, hdf5 unfolded          ours, folded and not                         content_sha256
    darknet                      no names of layers; RepConvs are one conv    detections
    onnx, onnx folded, exported  operations; the last one is our own export   detections

All files are made here, by the tests' own writers.
"""

from dataclasses import replace

import numpy as np
import pytest
from darknet_writer import files
from darknet_writer import write as write_darknet
from make_checkpoint import network, stripped
from state_dict_writer import save_legacy, state_dict, tensors
from torch_objects import Objects, save

from refquant.detection.predict import detect
from refquant.formats.catalogue import FORMATS, load_model, save_model
from refquant.formats.onnx.export import export_onnx

pytest.importorskip("onnx")
library = pytest.importorskip("safetensors.numpy")

from onnx_writer import onnx_model  # noqa: E402

SIDE = 96
IMAGE = np.random.default_rng(8).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
EXACT = ("zip", "legacy", "names", "legacy names", "safetensors", "hdf5", "hdf5 unfolded")
OTHERS = ("darknet", "onnx", "onnx folded", "exported")


def written(folder, name, head):
    """One file per door: door -> (path, the options that it takes)."""
    layers, arch = network(name, head=head), {"arch": name}
    arrays = state_dict(layers)
    objects, others = Objects(), Objects()
    whole = stripped(objects.model(layers, head))
    by_name = tensors(others, arrays)
    library.save_file(arrays, folder / "names.safetensors")
    doors = {
        "zip": (save(folder / "zip.pt", whole, objects.storages), {}),
        "legacy": (save_legacy(folder / "legacy.pt", whole, objects), {}),
        "names": (save(folder / "names.pt", by_name, others.storages), arch),
        "legacy names": (save_legacy(folder / "old.pt", by_name, others), arch),
        "safetensors": (folder / "names.safetensors", arch),
        "darknet": (write_darknet(folder / "x", files(layers, 1e-3)), {"eps": 1e-3}),
    }
    folded, unfolded = (load_model(doors["zip"][0], fold=fold) for fold in (True, False))
    for door, model in (("hdf5", folded), ("hdf5 unfolded", unfolded)):
        save_model(model, folder / f"{door}.h5")
        doors[door] = (folder / f"{door}.h5", {})
    for door, model in (("onnx", unfolded), ("onnx folded", folded)):
        exported = onnx_model(model, "split", (SIDE, SIDE))
        (folder / f"{door}.onnx").write_bytes(exported.SerializeToString())
        doors[door] = (folder / f"{door}.onnx", {})
    export_onnx(folded, folder / "exported.onnx", shape=(1, 3, SIDE, SIDE))
    doors["exported"] = (folder / "exported.onnx", {})
    return doors


def models(folder, name, head):
    doors = written(folder, name, head)
    assert set(doors) == {*EXACT, *OTHERS}
    return {door: load_model(path, **options) for door, (path, options) in doors.items()}


def boxes(model):
    """Detections at a threshold that a random network passes hundreds of times."""
    found = detect(model, IMAGE, conf=0.2, size=SIDE)
    assert len(found) > 50
    return found


def same(a, b):
    return all(
        np.array_equal(getattr(a, field), getattr(b, field))
        for field in ("boxes", "scores", "classes")
    )


@pytest.mark.slow
@pytest.mark.parametrize("head", ("Detect", "IDetect"))
@pytest.mark.parametrize("name", ("yolov7", "yolov7-tiny"))
def test_the_same_model_through_every_door(tmp_path, name, head):
    """Content hashes to the byte; detections to the bit, save where Darknet's writer had to fold
    RepConvs or implicit layers into float32: 2**-24 relative per weight then, amplified along the
    layers; within 1e-5 of the largest number, as test_darknet.py has it."""
    found = models(tmp_path, name, head)
    hashes = {door: save_model(found[door], tmp_path / "again.h5") for door in EXACT}
    assert len(set(hashes.values())) == 1, hashes
    expected = boxes(found["zip"])
    for door in OTHERS:
        actual = boxes(found[door])
        if door == "darknet" and (name, head) != ("yolov7-tiny", "Detect"):
            assert np.array_equal(actual.classes, expected.classes)
            assert np.abs(actual.scores - expected.scores).max() <= 1e-5
            assert np.abs(actual.boxes - expected.boxes).max() <= 1e-5 * SIDE
        else:
            assert same(actual, expected), door


def test_every_format_has_its_door():
    doors = {"zip": "torch", "legacy": "torch-legacy"}
    assert {doors.get(door, door) for door in (*EXACT, *OTHERS)} >= set(FORMATS)


@pytest.mark.slow
def test_another_model_has_another_hash_and_other_boxes(tmp_path):
    first = load_model(written(tmp_path, "yolov7-tiny", "Detect")["zip"][0])
    arrays = {**first.nodes[0].arrays}
    arrays["weight"] = arrays["weight"].copy()
    arrays["weight"][0, 0, 0, 0] = np.nextafter(arrays["weight"][0, 0, 0, 0], np.float32(9))
    other = first.with_nodes((replace(first.nodes[0], arrays=arrays), *first.nodes[1:]))
    assert save_model(first, tmp_path / "a.h5") != save_model(other, tmp_path / "b.h5")
    assert not same(boxes(first), boxes(other))
