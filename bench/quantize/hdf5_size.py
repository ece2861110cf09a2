"""What the HDF5 file costs beyond its numbers, for several layouts.

    python -m bench.quantize.hdf5_size

A YOLOv7 of full size, seeded weights, every convolution quantized affine, per filter, 4 bits. Each
layout writes the same groups into memory; the first is the one that refquant uses. The table goes
into docs/hdf5.md, between its two markers.

    overhead = (file - codes - parameters - biases - anchors) / nodes            (1)
    ratio = 2 bytes * parameters of the network / file                           (2)
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import replace

import h5py
import numpy as np

from bench.project import DOCS
from refquant.formats.hdf5.content_hash import Group
from refquant.formats.hdf5.node_json import group_of
from refquant.formats.hdf5.store import image_of
from refquant.graph.architecture import build
from refquant.graph.graph import Model, Node
from refquant.quant.recipe import quantize_model, uniform

DOC = DOCS / "hdf5.md"
START, END = "<!-- hdf5_size -->\n", "<!-- end -->"
ROOT = b"x" * 2000  # about what 80 class names and provenance take
Write = Callable[[bytes, Mapping[str, Group]], io.BytesIO]


def with_options(variable: bool = False, **options: object) -> Write:
    """A layout by h5py's plain functions, with options for every dataset."""

    def write(root: bytes, groups: Mapping[str, Group]) -> io.BytesIO:
        image = io.BytesIO()
        with h5py.File(image, "w", libver=("v110", "v110")) as file:
            file.attrs["model"] = root.decode() if variable else np.bytes_(root)
            for name, group in groups.items():
                node = file.create_group(name)
                node.attrs["node"] = group.json.decode() if variable else np.bytes_(group.json)
                for key, array in group.arrays.items():
                    node.create_dataset(key, data=array, track_times=False, **options)
        return image

    return write


LAYOUTS: Mapping[str, Write] = {
    "as defined here": image_of,
    "attribute before the datasets": with_options(),
    "attributes of variable length": with_options(variable=True),
    "chunked datasets": with_options(chunks=True),
}


def half(node: Node) -> Node:
    """The node with its bias in float16."""
    arrays = {
        key: np.asarray(array, np.float16) if key == "bias" else array
        for key, array in node.arrays.items()
    }
    return replace(node, arrays=arrays)


def rows(model: Model, what: str, layouts: Mapping[str, Write], parameters: int) -> list[str]:
    """One line of the table per layout, equations (1) and (2)."""
    groups = {node.name: group_of(node, index) for index, node in enumerate(model.nodes)}
    numbers = sum(array.nbytes for group in groups.values() for array in group.arrays.values())
    texts = sum(len(group.json) for group in groups.values())
    lines = []
    for name, write in layouts.items():
        size = len(write(ROOT, groups).getbuffer())
        overhead = (size - numbers) / len(groups)  # (1)
        lines.append(
            f"| {name} | {what} | {size:,} | {overhead:,.0f} | {texts / len(groups):,.0f} "
            f"| {2 * parameters / size:.4f} |\n"  # (2)
        )
    return lines


def main() -> None:
    network = build("yolov7")
    parameters = network.parameters
    single = quantize_model(network, uniform())
    mixed = quantize_model(network, uniform(params_dtype="float16"))
    short = mixed.with_nodes(tuple(half(node) for node in mixed.nodes))
    ours = {"as defined here": image_of}
    table = [
        "| layout | parameters and biases | file, bytes | beyond numbers, bytes per node "
        "| of these JSON | smaller than FP16 by |\n|---|---|---|---|---|---|\n",
        *rows(single, "float32", LAYOUTS, parameters),
        *rows(mixed, "float16, biases float32", ours, parameters),
        *rows(short, "float16", ours, parameters),
        f"\n{len(network.nodes)} nodes, {parameters:,} weights and biases; h5py "
        f"{h5py.version.version}, HDF5 {h5py.version.hdf5_version}.\n",
    ]
    text = DOC.read_text(encoding="utf-8")
    before, rest = text.split(START)
    DOC.write_text(before + START + "".join(table) + END + rest.split(END)[1], encoding="utf-8")
    print("".join(table))


if __name__ == "__main__":
    main()
