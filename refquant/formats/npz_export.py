"""A model as a plain .npz: arrays that np.load reads, and an index that says what they are.

    NODE.weight, NODE.bias ...   (F, C, R, S) float32 and so on, under the names of the graph
    NODE.codes                   of a quantized weight (F, C, R, S), one code per element, uint8 or
                                 uint16; rows (G, N) for blocks, see "rows" in the index
    NODE.scale, NODE.zero_point  and the other parameters, (G, columns), as the scheme names them
    index.json                   a row of bytes: {"format", "class_names", "nodes": [{"name", "op",
                                 "inputs", "attributes", "arrays", "quantized"}, ...]} in order

Nothing is lost: even the magnitudes that folding left for bounds are kept. Entries are written one
by one with a fixed date, so equal models make equal files.
"""

import json
import os
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.atomic import atomic_path
from refquant.formats.hdf5.node_json import description
from refquant.graph.graph import Model, Node, array_of
from refquant.quant.tensor import QuantizedTensor


def export_npz(model: Model, path: str | os.PathLike[str]) -> None:
    """Write the model; the file appears whole or not at all."""
    nodes = []
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for node in model.nodes:
            entry: dict[str, Any] = {
                "name": node.name,
                "op": node.op,
                "inputs": list(node.inputs),
                "attributes": dict(node.attributes),
                "arrays": [],
            }
            for key, array in arrays_of(node):
                write_array(archive, f"{node.name}.{key}", array)
                entry["arrays"].append(key)
            weight = node.arrays.get("weight")
            if isinstance(weight, QuantizedTensor):
                entry["quantized"] = description(weight)
            nodes.append(entry)
        index = {"format": "refquant-npz", "class_names": model.class_names, "nodes": nodes}
        text = json.dumps({**index, "source": dict(model.source)}, sort_keys=True).encode("ascii")
        write_array(archive, "index.json", np.frombuffer(text, np.uint8))


def arrays_of(node: Node) -> Iterator[tuple[str, NDArray[Any]]]:
    """A node's arrays, a quantized weight as codes and parameters."""
    for key, value in node.arrays.items():
        if isinstance(value, QuantizedTensor):
            blocks = value.grouping.block
            codes = value.codes if blocks else value.grouping.from_rows(value.codes, value.shape)
            yield "codes", codes
            yield from value.params.items()
        else:
            yield key, array_of(value)


def write_array(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    """One .npy in an .npz, without a date."""
    entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
    with archive.open(entry, "w", force_zip64=True) as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
