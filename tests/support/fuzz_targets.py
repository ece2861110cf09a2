"""What is fuzzed: for each reader a few small good files, made by the tests' own writers."""

import io
import json
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from darknet_writer import cfg_of, files
from fuse_checkpoint import fuse
from fuzzing import Target
from make_checkpoint import stripped
from pickle_writer import dumps
from PIL import Image
from small_model import saved
from state_dict_writer import save_legacy, state_dict, tensors
from torch_objects import Objects, archive, save

from refquant.arrays.table import Table
from refquant.formats import state_dict as reader
from refquant.formats.catalogue import load_model
from refquant.formats.hdf5 import store as hdf5_file
from refquant.formats.hdf5.content_hash import Group, content_sha256
from refquant.formats.torch.archive import END, HEADER, RECORD
from refquant.graph.architecture import Architecture, detect, layers_of, random_arrays, supply_of
from refquant.graph.blocks import conv, sp
from refquant.graph.blueprint import Blueprint
from refquant.graph.graph import Counts, Model, Node
from refquant.graph.module import Layer, Module
from refquant.quant.recipe import quantize_model, uniform

DARKNET = (
    "[net]\nwidth=640\nheight=640\nchannels=3\n[convolutional]\nbatch_normalize=1\nfilters=4\n"
    "size=8\nstride=8\npad=0\nactivation=swish\n[maxpool]\nsize=5\nstride=1\n[route]\n"
    "layers=-1,0\n[convolutional]\nfilters=6\nsize=1\nstride=1\npad=1\nactivation=logistic\n"
    "[yolo]\nmask=0\nanchors=10,20\nclasses=1\nnum=1\nscale_x_y=2.0\nnew_coords=1\n"
)
DARKNET_NUMBERS = 4 * 4 + 4 * 3 * 64 + 6 + 6 * 8


def small_table(net: Blueprint) -> None:
    net.conv(8, 3, 8)
    net.add("Upsample")
    net.add("MP")
    net.add("RepConv", 8)
    net.detect([net.last])


# So that a state_dict has ten to twenty-four tensors, not hundreds.
SMALL = Architecture("small", small_table, "SiLU", (((16, 30), (33, 23)),))


def random_halves() -> Callable:
    random = random_arrays(np.random.default_rng(0))
    return lambda name, shape: random(name, shape).astype(np.float16)


def small_layers(implicit: bool) -> list[Layer]:
    return layers_of(SMALL, 1.0, 1, implicit, random_halves())


def least() -> list[Layer]:
    """A convolution and a head of one level."""
    supply = supply_of(SMALL, 1.0, random_halves())
    first = conv(supply, "x", 3, 2, 3, 8)
    return [Layer((-1,), first), Layer((0,), detect(supply, "x", (2,), SMALL, 1, False))]


def joined() -> list[Layer]:
    """The same with a pooling and a concat between them, and implicit layers in the head."""
    supply = supply_of(SMALL, 1.0, random_halves())
    return [
        Layer((-1,), conv(supply, "x", 3, 2, 3, 8)),
        Layer((0,), sp(5)),
        Layer((1, 0), Module("Concat")),
        Layer((2,), detect(supply, "x", (4,), SMALL, 1, True)),
    ]


def in_folder(make: Callable[[Path], Path]) -> bytes:
    """The bytes of the file that `make` writes into a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return make(Path(folder)).read_bytes()


def objects_of(objects: Objects, fused: bool = False) -> dict[str, Any]:
    """The pickle's objects of a checkpoint of the least network; its storages go to `objects`."""
    layers = fuse(least()) if fused else least()
    return stripped(objects.model(layers, "Detect", fused))


def checkpoint(folder: Path) -> Path:
    objects = Objects()
    value = objects_of(objects)
    return save(folder / "x.pt", value, objects.storages)


def torch_file() -> Target:
    """The file as it is: mostly its container."""
    return Target("torch archive", ".pt", [in_folder(checkpoint)], load_model)


def inside_archive(storages: list[bytes]) -> Callable[[bytes], bytes]:
    """pack: a changed pickle as the last member of an archive; its checksum fits.

    The other members are written once: the time is for the reader.
    """
    whole = archive({f"a/data/{key}": part for key, part in enumerate(storages)})
    place = END.unpack_from(whole, len(whole) - END.size)[6]
    before, listed, count = whole[:place], whole[place : -END.size], len(storages) + 1
    name = b"a/data.pkl"
    local = HEADER.pack(b"PK\3\4", 0, 0x808, 0, 0, 0, 0, 0, 0, len(name), 0) + name

    def pack(data: bytes) -> bytes:
        size = len(data)
        fields = (0, 0, 0x808, 0, 0, 0, zlib.crc32(data), size, size, len(name), 0, 0, 0, 0, 0)
        members = listed + RECORD.pack(b"PK\1\2", *fields, place) + name
        start = place + len(local) + size
        end = END.pack(b"PK\5\6", 0, 0, count, count, len(members), start, 0)
        return before + local + data + members + end

    return pack


def torch_pickle() -> Target:
    """The pickle inside of an archive whose checksums fit."""
    objects = Objects()
    seeds = [dumps(objects_of(objects, fused)) for fused in (True, False)]
    return Target("torch pickle", ".pt", seeds, load_model, inside_archive(objects.storages))


def torch_legacy() -> Target:
    def file(fused: bool) -> bytes:
        objects = Objects()
        value = objects_of(objects, fused)
        return in_folder(lambda folder: save_legacy(folder / "x.pt", value, objects))

    return Target("torch legacy", ".pt", [file(True), file(False)], load_model)


def named_arrays(fused: bool) -> dict[str, np.ndarray]:
    """SMALL's tensors by name: 10 of the fused form, 24 of the one with everything."""
    layers = small_layers(implicit=not fused)
    return state_dict(fuse(layers) if fused else layers)


def state_dict_pickle() -> Target:
    """Tensors by name: what they claim, and what they are called."""
    objects = Objects()
    seeds = [dumps(tensors(objects, named_arrays(fused))) for fused in (True, False)]
    # Most executions change the small one.
    seeds = [seeds[0]] * 3 + seeds[1:]
    return Target("state_dict", ".pt", seeds, by_name, inside_archive(objects.storages))


def by_name(path: Path) -> object:
    """The reader, with SMALL among the architectures."""
    table = reader.ARCHITECTURES
    reader.ARCHITECTURES = Table("architecture", (*table.values(), SMALL))
    try:
        return load_model(path, arch="small")
    finally:
        reader.ARCHITECTURES = table


def safetensors() -> Target:
    from safetensors.numpy import save as to_bytes

    data = [to_bytes(named_arrays(fused)) for fused in (True, False)]
    ends = [8 + struct.unpack_from("<Q", file)[0] for file in data]
    headers, numbers = zip(*((f[8:end], f[end:]) for f, end in zip(data, ends, strict=True)))

    def pack(changed: bytes) -> bytes:
        """The header changed, its length right three times out of four."""
        right = len(changed) if sum(changed[:9]) % 4 else len(headers[0])
        return struct.pack("<Q", right) + changed + numbers[b"running_var" in changed]

    return Target("safetensors", ".safetensors", list(headers), by_name, pack)


def darknet_cfg() -> Target:
    network = cfg_of(files(small_layers(implicit=False)))
    header = struct.pack("<3iQ", 0, 2, 5, 0)
    beside = {".weights": header + bytes(4 * DARKNET_NUMBERS)}
    seeds = [DARKNET.encode(), network.encode()]
    return Target("Darknet cfg", ".cfg", seeds[:1] * 3 + seeds[1:], load_model, beside=beside)


def darknet_weights() -> Target:
    header = struct.pack("<3iQ", 0, 2, 5, 0)
    data = header + np.ones(DARKNET_NUMBERS, "<f4").tobytes()
    beside = {".cfg": DARKNET.encode()}
    return Target("Darknet weights", ".weights", [data], load_model, beside=beside)


def onnx() -> Target:
    from onnx_writer import onnx_model

    from refquant.graph.lower import lower

    def file(layers: list[Layer], end: str) -> bytes:
        model = Model(lower(layers), ("a",), False, Counts(0, 0, 0, 0, 0))
        return onnx_model(model, end, (8, 8)).SerializeToString()

    seeds = [file(least(), end) for end in ("planes", "split", "slices")]
    return Target("ONNX", ".onnx", [*seeds, file(joined(), "cells")], load_model)


def two_nodes() -> Model:
    """A convolution and a decode: what a small HDF5 file holds."""
    arrays = {"weight": np.ones((6, 3, 1, 1), np.float32), "bias": np.ones(6, np.float32)}
    anchors = {"anchors": np.array([[[16, 32]]], np.float32)}
    options = {"stride": 8, "padding": 0, "activation": "linear"}
    nodes = (
        Node("m", "conv", ("images",), options, arrays),
        Node("d", "decode", ("m",), {"strides": (8,)}, anchors),
    )
    return Model(nodes, ("person",), True, Counts(18, 6, 6, 0, 0), {"name": "x"}, "a note")


def stored() -> list[Model]:
    """The small model in the two ways in which HDF5 holds weights."""
    return [two_nodes(), quantize_model(two_nodes(), uniform("affine", "filter", 4))]


def oldest_form(new: bytes, attribute: str = "model") -> bytes:
    """The same content in HDF5's first file format, which has no checksums to stop a reader."""
    image = io.BytesIO()
    with h5py.File(io.BytesIO(new)) as old, h5py.File(image, "w", libver="earliest") as file:
        file.attrs.create(attribute, old.attrs[attribute])
        for name in old:
            old.copy(name, file)
    return image.getvalue()


def hdf5() -> Target:
    new = [in_folder(lambda folder, model=model: saved(model, folder)) for model in stored()]
    return Target("HDF5", ".h5", [*map(oldest_form, new), new[0]], load_model)


HASH = re.compile(rb'"content_sha256":"[0-9a-f]*"')


def model_json() -> Target:
    """The texts in an HDF5 file, a line each, the hash made to fit; arrays stay as they are."""
    kinds = []
    for model in stored():
        groups = {node.name: hdf5_file.group_of(node, i) for i, node in enumerate(model.nodes)}
        with h5py.File(hdf5_file.file_of(model, Path("x"))[1]) as file:
            kinds.append((bytes(file.attrs["model"]), groups))

    seeds = [b"\n".join([root, *(g.json for g in groups.values())]) for root, groups in kinds]

    def pieces(path: Path) -> tuple[bytes, dict[str, Group]]:
        root, *texts = path.read_bytes().split(b"\n")
        known = kinds[b"quantized" in b"".join(texts)][1]
        pairs = zip(known.items(), texts, strict=False)
        groups = {name: Group(text, group.arrays) for (name, group), text in pairs}
        fitting = b'"content_sha256":"%b"' % content_sha256(groups).encode()
        return HASH.sub(fitting, root, count=1), groups

    return Target("model JSON", ".h5", seeds, lambda path: read_pieces(path, pieces))


def read_pieces(path: Path, pieces: Callable[[Path], Any]) -> object:
    """The HDF5 reader, what it takes out of a file being given."""
    before = hdf5_file.read_groups
    hdf5_file.read_groups = pieces
    try:
        return hdf5_file.read(path)
    finally:
        hdf5_file.read_groups = before


def annotations() -> Target:
    import encodings.utf_16
    import encodings.utf_16_be
    import encodings.utf_16_le
    import encodings.utf_32
    import encodings.utf_32_be
    import encodings.utf_32_le  # noqa: F401

    from refquant.detection.coco_json import read_annotations

    box = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400}
    document = {
        "images": [{"id": 7, "file_name": "photo.png", "width": 64, "height": 48}],
        "annotations": [{**box, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    return Target("annotations", ".json", [json.dumps(document).encode()], read_annotations)


def image() -> Target:
    from refquant.detection.image import PER_BYTE, read_image

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    seeds = []
    for kind in ("PNG", "JPEG", "BMP", "GIF", "PPM"):
        memory = io.BytesIO()
        Image.fromarray(pixels).save(memory, kind)
        seeds.append(memory.getvalue())
    return Target("images", ".png", seeds, read_image, memory=16 * PER_BYTE)


def tensor_files() -> Target:
    """What `verify` takes from another implementation; an .npz is changed inside of its archive.

    NumPy reads the header of an .npy with ast.literal_eval, which compiles and does not run it.
    """
    import unicodedata  # noqa: F401

    from refquant.verification.tensors.files import tensors_of

    arrays = {"a": np.ones((2, 3), np.float32), "1": np.ones(4, np.float16)}
    image = io.BytesIO()
    with h5py.File(image, "w", libver="earliest") as file:
        for name, values in arrays.items():
            file[f"x/{name}"] = values
        file.create_dataset("z", data=np.ones((4, 4), "f4"), compression="gzip")
    seeds = [image.getvalue(), written(np.savez, **arrays), written(np.save, arrays["a"])]

    def read(path: Path) -> object:
        return [tensor.read() for tensor in tensors_of(path, np.zeros((1, 3, 8, 8), "f4"))]

    return Target("tensor files", ".npz", seeds, read, harmless=("compile",))


def written(save: Callable[..., None], *arrays: np.ndarray, **named: np.ndarray) -> bytes:
    image = io.BytesIO()
    save(image, *arrays, **named)
    return image.getvalue()


def golden() -> Target:
    from refquant.verification.golden.file import open_golden
    from refquant.verification.golden.record import record_golden

    def make(folder: Path) -> Path:
        x = np.zeros((1, 3, 8, 8), np.float32)
        record_golden(two_nodes(), x, folder / "g.h5", with_model=False)
        return folder / "g.h5"

    def read(path: Path) -> object:
        with open_golden(path) as found:
            return [found.output(name) for name in found.records if found.has(name)]

    new = in_folder(make)
    return Target("golden", ".h5", [oldest_form(new, "golden"), new], read)


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
    model_json,
    annotations,
    image,
    tensor_files,
    golden,
)
