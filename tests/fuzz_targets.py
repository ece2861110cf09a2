"""What is fuzzed: for each reader a few small good files, made by the tests' own writers."""

import io
import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from darknet_writer import cfg_of, files
from fuzzing import Target
from make_checkpoint import stripped
from pickle_writer import dumps
from PIL import Image
from small_model import saved, small_model
from state_dict_writer import save_legacy, state_dict, tensors
from torch_objects import Objects, archive, save
from zoo import CLASSES, STRIDES

from refquant.formats import load_model
from refquant.graph.architecture import ARCHITECTURES, Maker, layers_of, random_arrays
from refquant.graph.module import Layer, Module

DARKNET = (
    "[net]\nwidth=640\nheight=640\nchannels=3\n[convolutional]\nbatch_normalize=1\nfilters=4\n"
    "size=8\nstride=8\npad=0\nactivation=swish\n[maxpool]\nsize=5\nstride=1\n[route]\n"
    "layers=-1,0\n[convolutional]\nfilters=6\nsize=1\nstride=1\npad=1\nactivation=logistic\n"
    "[yolo]\nmask=0\nanchors=10,20\nclasses=1\nnum=1\nscale_x_y=2.0\nnew_coords=1\n"
)
DARKNET_NUMBERS = 4 * 4 + 4 * 3 * 64 + 6 + 6 * 8


def tiny() -> list[Layer]:
    """Two convolutions and a head: small enough to be read a thousand times per second."""
    random = random_arrays(np.random.default_rng(0))
    make = Maker("x", random, ARCHITECTURES["yolov7"], 1.0, CLASSES, False)
    detect = make._replace(architecture=ARCHITECTURES["yolov7"]._replace(anchors=anchors()))
    module = detect.detect((8, 8))
    heads = Module(module.kind, {"strides": STRIDES}, module.arrays, module.children)
    return [
        Layer((-1,), Module("ReOrg")),
        Layer((0,), make.conv("", 12, 8, 3, 2)),
        Layer((1,), make.conv("", 8, 8, 3, 2)),
        Layer((2,), make.conv("", 8, 8, 3, 2)),
        Layer((2, 3), heads),
    ]


def anchors() -> tuple:
    return (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)))


def in_folder(make: Callable[[Path], Path]) -> bytes:
    """The bytes of the file that `make` writes into a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return make(Path(folder)).read_bytes()


def checkpoint(folder: Path) -> Path:
    objects = Objects()
    value = stripped(objects.model(tiny(), "Detect"))
    return save(folder / "x.pt", value, objects.storages)


def torch_file() -> Target:
    """The file as it is: mostly its container."""
    return Target("torch archive", ".pt", [in_folder(checkpoint)], load_model)


def torch_pickle() -> Target:
    """The pickle inside of an archive whose checksums fit."""
    objects = Objects()
    pickled = dumps(stripped(objects.model(tiny(), "Detect")))
    members = {f"a/data/{key}": part for key, part in enumerate(objects.storages)}

    def pack(data: bytes) -> bytes:
        return archive({"a/data.pkl": data, **members})

    return Target("torch pickle", ".pt", [pickled], load_model, pack)


def torch_legacy() -> Target:
    def make(folder: Path) -> Path:
        objects = Objects()
        value = stripped(objects.model(tiny(), "Detect"))
        return save_legacy(folder / "x.pt", value, objects)

    return Target("torch legacy", ".pt", [in_folder(make)], load_model)


def few_numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Arrays of the right number of axes, of one element each."""
    return np.ones((1, 1, *shape[2:]) if len(shape) == 4 else (1,) * len(shape), np.float16)


def state_dict_pickle() -> Target:
    """Tensors by name, read as yolov7-tiny: what they claim, and what they are called."""
    objects = Objects()
    architecture = ARCHITECTURES["yolov7-tiny"]
    arrays = state_dict(layers_of(architecture, 0.01, 1, False, random_halves()))
    pickled = dumps(tensors(objects, arrays))
    members = {f"a/data/{key}": part for key, part in enumerate(objects.storages)}

    def pack(data: bytes) -> bytes:
        return archive({"a/data.pkl": data, **members})

    return Target("state_dict", ".pt", [pickled], by_name, pack)


def random_halves() -> Callable:
    random = random_arrays(np.random.default_rng(0))
    return lambda name, shape: random(name, shape).astype(np.float16)


def by_name(path: Path) -> object:
    return load_model(path, arch="yolov7-tiny")


def safetensors() -> Target:
    from safetensors.numpy import save as to_bytes

    architecture = ARCHITECTURES["yolov7-tiny"]
    arrays = state_dict(layers_of(architecture, 0.01, 1, False, random_halves()))
    data = to_bytes(arrays)
    (length,) = struct.unpack_from("<Q", data)

    def pack(changed: bytes) -> bytes:
        """The header changed, its length right three times out of four."""
        right = struct.pack("<Q", len(changed) if sum(changed[:9]) % 4 else length)
        return right + changed + data[8 + length :]

    return Target("safetensors", ".safetensors", [data[8 : 8 + length]], by_name, pack)


def darknet_cfg() -> Target:
    network = cfg_of(files(layers_of(ARCHITECTURES["yolov7-tiny"], 0.01, 1, False, few_numbers)))
    header = struct.pack("<3iQ", 0, 2, 5, 0)
    beside = {".weights": header + bytes(4 * DARKNET_NUMBERS)}
    seeds = [DARKNET.encode(), network.encode()]
    return Target("Darknet cfg", ".cfg", seeds, load_model, beside=beside)


def darknet_weights() -> Target:
    header = struct.pack("<3iQ", 0, 2, 5, 0)
    data = header + np.ones(DARKNET_NUMBERS, "<f4").tobytes()
    beside = {".cfg": DARKNET.encode()}
    return Target("Darknet weights", ".weights", [data], load_model, beside=beside)


def onnx() -> Target:
    from onnx_writer import onnx_model

    from refquant.graph.graph import Counts, Model
    from refquant.graph.lower import lower

    model = Model(lower(tiny()), ("a", "b"), False, Counts(0, 0, 0, 0, 0))
    seeds = [onnx_model(model, end, (32, 32)).SerializeToString() for end in ("split", "slices")]
    return Target("ONNX", ".onnx", seeds, load_model)


def hdf5() -> Target:
    data = in_folder(lambda folder: saved(small_model(), folder))
    return Target("HDF5", ".h5", [data], load_model)


def annotations() -> Target:
    import encodings.utf_16
    import encodings.utf_16_be
    import encodings.utf_16_le
    import encodings.utf_32
    import encodings.utf_32_be
    import encodings.utf_32_le  # noqa: F401

    from refquant.detect.coco_json import read_annotations

    box = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400}
    document = {
        "images": [{"id": 7, "file_name": "photo.png", "width": 64, "height": 48}],
        "annotations": [{**box, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    return Target("annotations", ".json", [json.dumps(document).encode()], read_annotations)


def image() -> Target:
    from refquant.detect.image import read_image

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    seeds = []
    for kind in ("PNG", "JPEG", "BMP", "GIF", "PPM"):
        memory = io.BytesIO()
        Image.fromarray(pixels).save(memory, kind)
        seeds.append(memory.getvalue())
    return Target("images", ".png", seeds, read_image)


TARGETS = (
    torch_file,
    torch_pickle,
    torch_legacy,
    state_dict_pickle,
    safetensors,
    darknet_cfg,
    darknet_weights,
    onnx,
    hdf5,
    annotations,
    image,
)
