"""An .onnx file as tensors: run once in onnxruntime with the golden's input, all values kept.

Every value of the graph becomes an output, so that each node can be judged. This keeps the runtime
from fusing across them: what is judged is its kernels, node by node. Give the runtime's own dump
of its optimised graph, as .npz, to judge that one. Memory: all outputs at once.

What a Cast gives is what it took, in another type: one of the two is a copy, which only a name
finds: the cast one, or the other one where the cast one is an output of the graph.

A file with weights in other files is refused, since their names come from a stranger.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.onnx.fields import check_fields
from refquant.verification.tensors.tensor import FLOATS, Tensor

ELEMENTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def onnx_tensors(path: Path, x: NDArray[np.float32], threads: int = 1) -> list[Tensor]:
    """The input and every float value of two or more dimensions, in the graph's order."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        remedy = "pip install 'refquant[onnx]' onnxruntime"
        raise BadInput(path, f"needs {error.name} to run", remedy) from error
    model = parsed(path, onnx.ModelProto)
    names = [name for node in model.graph.node for name in node.output if name]
    copies = copies_in(model.graph)
    known = {item.name for item in model.graph.output}
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        feed = input_of(session, x, path)
        values = session.run(names, feed)
    except BadInput:
        raise
    except Exception as error:  # onnxruntime's own kinds
        raise BadInput(path, f"does not run in onnxruntime ({error!s:.150})") from error
    found = {**feed, **dict(zip(names, values, strict=True))}
    return [
        Tensor(name, array.shape, array.dtype.name, partial(np.asarray, array), name in copies)
        for name, array in found.items()
        if is_map(array)
    ]


def copies_in(graph: Any) -> set[str]:
    """The names of values that are another value, cast."""
    outputs = {item.name for item in graph.output}
    casts = [n for n in graph.node if n.op_type == "Cast" and n.input and n.output]
    return {n.input[0] if n.output[0] in outputs else n.output[0] for n in casts}


def parsed(path: Path, kind: Any) -> Any:
    """The onnx.ModelProto (`kind`) in a file; its fields are counted before they are parsed."""
    try:
        data = path.read_bytes()
        check_fields(data, kind.DESCRIPTOR)
        model = kind.FromString(data)
    except Exception as error:  # protobuf's own kinds
        raise BadInput(path, f"is no ONNX model ({error!s:.80})") from error
    if any(item.external_data or item.data_location for item in tensors_in(model)):
        raise BadInput(path, "has its weights in another file", "save it as one file")
    return model


def tensors_in(message: Any) -> Iterator[Any]:
    """Every TensorProto of a message, in whatever field: sparse ones and functions' too.

    As deep as messages nest, which protobuf limits to 100 when it parses.
    """
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in (value,) if hasattr(value, "ListFields") else value:
                yield from tensors_in(item)


def is_map(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.ndim >= 2 and array.dtype.name in FLOATS


def input_of(session: Any, x: NDArray[np.float32], path: Path) -> dict[str, NDArray[Any]]:
    """The golden's input under the graph's name, in the graph's layout and type."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in ELEMENTS:
        raise BadInput(path, "does not take one float tensor", "export it without preprocessing")
    shape = inputs[0].shape
    if len(shape) == 4 and shape[3] == 3 and shape[1] != 3:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    for asked, given in zip(shape, x.shape, strict=False):
        if isinstance(asked, int) and asked != given:
            problem = f"takes {shape}, the golden's input is {list(x.shape)}"
            raise BadInput(path, problem, "export it for that shape (refquant export --like)")
    return {inputs[0].name: x.astype(ELEMENTS[inputs[0].type])}
