"""What reading a large model costs in memory: SECURITY.md's promise, in a process per door.

A file of n bytes that gives w weights may take 2 * n + 64 MiB + 4 * w beyond what the process had
after it read a small file of the same kind. Measured by Linux's high-water mark (VmHWM), which a
process can reset.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from darknet_writer import files
from darknet_writer import write as write_darknet
from make_checkpoint import network, stripped
from places import ROOT
from state_dict_writer import save_legacy, state_dict
from torch_objects import Objects, save

from refquant.formats.catalogue import load_model, save_model

pytest.importorskip("onnx")
library = pytest.importorskip("safetensors.numpy")

from onnx_writer import onnx_model  # noqa: E402

pytestmark = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="no high-water mark to reset"
)
ROOM = 2**26
DOORS = ("zip", "legacy", "safetensors", "darknet", "hdf5", "onnx")
READ = """
import pathlib, re, sys
from refquant.formats.catalogue import load_model

def most():
    text = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", text)[1])

small, large, arch = sys.argv[1:]
options = {"arch": arch} if arch else {}
load_model(small, **options)
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = most()
model = load_model(large, **options)
print(most() - before, model.parameters)
"""


def written(folder: Path, width: float) -> dict[str, Path]:
    """YOLOv7 in fp16 behind every door; Darknet, HDF5 and ONNX have float32."""
    folder.mkdir()
    layers, objects = network("yolov7", width), Objects()
    whole = stripped(objects.model(layers, "Detect"))
    library.save_file(state_dict(layers), folder / "x.safetensors")
    paths = {
        "zip": save(folder / "zip.pt", whole, objects.storages),
        "legacy": save_legacy(folder / "legacy.pt", whole, objects),
        "safetensors": folder / "x.safetensors",
        "darknet": write_darknet(folder / "x", files(layers, 1e-3)).with_suffix(".weights"),
        "hdf5": folder / "x.h5",
        "onnx": folder / "x.onnx",
    }
    unfolded = load_model(paths["zip"], fold=False)
    save_model(unfolded, paths["hdf5"])
    exported = onnx_model(unfolded, "split", (64, 64))
    paths["onnx"].write_bytes(exported.SerializeToString())
    return paths


@pytest.mark.slow
def test_reading_takes_no_more_memory_than_is_promised(tmp_path):
    small, large = written(tmp_path / "small", 0.0625), written(tmp_path / "large", 1.0)
    assert set(small) == set(DOORS)
    root = str(ROOT)
    found = {}
    for door in DOORS:
        arch = "yolov7" if door == "safetensors" else ""
        done = subprocess.run(
            [sys.executable, "-c", READ, small[door], large[door], arch],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": root},
        )
        taken, parameters = map(int, done.stdout.split())
        size = large[door].stat().st_size
        assert size > 2**26 and parameters > 2**25, door  # so that ROOM does not hide it all
        assert taken > 4 * parameters, door  # the model itself: what is measured is really there
        found[door] = (taken, 2 * size + ROOM + 4 * parameters)
    assert all(taken <= most for taken, most in found.values()), found
