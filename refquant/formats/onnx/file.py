"""ONNX models of this family (extra `onnx`): exports with the decode at the end or without it.

    file.py         the file -> a graph of operations and constants; sizes are checked first
    fields.py       how much would the file grow when it is parsed?
    constants.py    tensors of the file -> arrays
    graph.py        the graph -> nodes, up to the head's raw maps, by body.py's operations
    tail.py         what follows the raw maps: its values (evaluate.py) against the decode

Every exporter writes the decode in its own way, in some dozen operations. So the decode is not
taken apart: it is evaluated on probes, which tells the anchors, and then has to agree with our
decode on random maps. A file that ends with the raw maps has no anchors, so it needs those of an
architecture (arch). What is not understood is refused by the name of its operation. Data outside
of the file are refused; loops and branches are unknown operations, and in a cycle something reads
what nothing before it gives.
"""

import hashlib
from pathlib import Path
from typing import Any

from refquant.arrays.errors import BadInput
from refquant.formats.finish import finish
from refquant.formats.official import LICENCE
from refquant.formats.onnx.body import BODY
from refquant.formats.onnx.constants import constants_of
from refquant.formats.onnx.evaluate import raw_maps, understood
from refquant.formats.onnx.fields import check_fields
from refquant.formats.onnx.graph import Converter
from refquant.formats.onnx.tail import Raw, anchors_in
from refquant.graph.architecture import ARCHITECTURES
from refquant.graph.graph import Model, Node, count, needed

MOST_BYTES = 2**31 - 1  # of a protobuf message
MOST_NODES = 10_000
MOST_SIDE = 4096  # pixels of the image that the graph was exported for
ANY_SIDE = 128  # where it is not fixed


def read(path: Path, *, fold: bool = True, arch: str | None = None) -> Model:
    """The model of an ONNX file.

    fold    fold batch norms and implicit layers into the convolutions, where there are any
    arch    the architecture whose anchors a file has that ends with the raw maps
    Raises BadInput, in one line, that names the operation or the tensor.
    """
    data = content(path)
    source = {"name": path.name, "sha256": hashlib.sha256(data).hexdigest()}
    try:
        graph = parse(data)
        del data  # the graph is a copy
        nodes, classes = network_of(graph, arch)
        del graph  # the arrays are copies
    except BadInput as error:
        raise BadInput(path, str(error)) from error
    except UnicodeDecodeError as error:
        raise BadInput(path, "a name in it is not UTF-8", "the file is damaged") from error
    names = tuple(f"class {i}" for i in range(classes))
    model = Model(nodes, names, False, count(nodes), source, LICENCE)
    return finish(model, path, fold)


def content(path: Path) -> bytes:
    """The whole file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInput(path, f"it has more than {MOST_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror or error})") from error


def parse(data: bytes) -> Any:
    """The onnx.GraphProto of a file's bytes."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as error:
        remedy = "pip install 'refquant[onnx]'"
        raise BadInput("onnx", "this library is not installed", remedy) from error
    check_fields(data, onnx.ModelProto.DESCRIPTOR)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise BadInput("protobuf", "it is no ONNX file, or cut off") from error
    if not 0 < len(model.graph.node) <= MOST_NODES:
        problem = f"it has {len(model.graph.node)} operations, a model has 1 to {MOST_NODES}"
        raise BadInput("graph", problem, "give an ONNX file")
    return model.graph


def network_of(graph: Any, arch: str | None) -> tuple[tuple[Node, ...], int]:
    """The nodes, the last of them a decode, and the number of classes."""
    constants = constants_of(graph.initializer)
    batch, height, width, image = image_of(graph, constants)
    converter = Converter(constants, image, BODY)
    for index, operation in enumerate(graph.node):
        converter.add(index, operation)
    outputs = [output.name for output in graph.output]
    missing = [name for name in outputs if name not in converter.values]
    if missing or not outputs:
        raise BadInput("graph", f"nothing gives its output {(missing or ['(none)'])[0][:60]!r}")
    outputs = understood(converter, outputs)
    raws = raws_of(converter, outputs, batch, height, width)
    given = None if arch is None else ARCHITECTURES[arch].anchors
    anchors, strides, classes = anchors_in(converter, raws, outputs, given)
    inputs = tuple(raw.node for raw in raws)
    decode = Node("decode", "decode", inputs, {"strides": strides}, {"anchors": anchors})
    return needed((*converter.nodes, decode)), classes


def image_of(graph: Any, constants: Any) -> tuple[int, int, int, str]:
    """(N, H, W, name) of the one input that is no constant."""
    inputs = [entry for entry in graph.input if entry.name not in constants]
    if len(inputs) != 1:
        raise BadInput("graph", f"it has {len(inputs)} inputs, not one image")
    sides = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim]
    if len(sides) != 4 or sides[1] != 3 or any(side < 0 for side in sides):
        raise BadInput("graph", f"its input has shape {sides[:8]}, not (N, 3, H, W)")
    if sides[0] > 64 or max(sides[2:]) > MOST_SIDE:
        raise BadInput("graph", f"its input has shape {sides}, more than (64, 3, 4096, 4096)")
    return max(sides[0], 1), sides[2] or ANY_SIDE, sides[3] or ANY_SIDE, inputs[0].name


def raws_of(
    converter: Converter, outputs: list[str], batch: int, height: int, width: int
) -> list[Raw]:
    """The head's raw maps, the finest first: what the end of the graph reads, or its outputs."""
    raws = []
    for entry in sorted(
        raw_maps(converter, outputs), key=lambda entry: (entry.stride, entry.node)
    ):
        if height % entry.stride or width % entry.stride:
            raise BadInput("graph", f"{height} x {width} pixels are no multiple of {entry.stride}")
        shape = (batch, entry.channels, height // entry.stride, width // entry.stride)
        raws.append(Raw(entry.node, entry.stride, shape))
    return raws
