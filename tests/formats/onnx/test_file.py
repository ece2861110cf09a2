"""ONNX models: what exporters write is read, what is not understood is named."""

from types import SimpleNamespace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_writer import onnx_model  # noqa: E402

from refquant.arrays.errors import BadInput  # noqa: E402
from refquant.engine.walk import walk  # noqa: E402
from refquant.formats.catalogue import load_model  # noqa: E402
from refquant.formats.onnx import evaluate as onnx_evaluate  # noqa: E402
from refquant.formats.onnx import file as onnx_file  # noqa: E402
from refquant.formats.onnx.constants import array  # noqa: E402
from refquant.graph.architecture import build  # noqa: E402

NAMES = ("yolov7-tiny", "yolov7", "yolov7-w6")
ENDS = ("planes", "cells", "slices", "split")


def written(tmp_path, model):
    path = tmp_path / "x.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def last(model, x) -> np.ndarray:
    *_, (_, y) = walk(model, x, arithmetic="math")
    return y


def graph(operations, outputs=("y",), inputs=("images",), constants=(), shape=(1, 3, 64, 64)):
    """A small graph, not checked by anybody."""
    value = helper.make_tensor_value_info
    return helper.make_model(
        helper.make_graph(
            operations,
            "small",
            [value(name, TensorProto.FLOAT, shape) for name in inputs],
            [value(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(np.asarray(a), name) for name, a in dict(constants).items()],
        )
    )


def head(**changes):
    """One convolution of 18 filters: three anchors, one class, stride 8."""
    weight = np.ones((18, 3, 8, 8), np.float32)
    own = {"strides": [8, 8], "pads": [0] * 4, **changes}
    return helper.make_node("Conv", ["images", "w"], ["y"], **own), {"w": weight}


def test_a_worked_example(tmp_path):
    """One convolution as the raw map of one level: anchors for three levels do not fit."""
    operation, constants = head()
    path = written(tmp_path, graph([operation], constants=constants))
    with pytest.raises(BadInput, match=r"ends with the raw maps .* --arch"):
        load_model(path)
    with pytest.raises(BadInput, match=r"1 raw maps of \[18\] channels do not fit"):
        load_model(path, arch="yolov7")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folded", (True, False))
def test_the_model_is_that_which_was_exported(tmp_path, name, end, folded):
    model = build(name, 1 / 8, classes=3, implicit=True, folded=folded)
    exported = onnx_model(model, end, slices=4 if folded else 8)
    onnx.checker.check_model(exported)
    arch = name if end in ("planes", "cells") else None
    found = load_model(written(tmp_path, exported), fold=False, arch=arch)
    by_name = {node.name: node for node in found.nodes}
    for node in model.nodes:
        if node.op == "conv":
            for key in ("weight", "bias"):
                expected = node.arrays.get(key)
                assert expected is None or np.array_equal(by_name[node.name].arrays[key], expected)
    assert np.array_equal(found.head.arrays["anchors"], model.head.arrays["anchors"])
    assert found.head.attributes == model.head.attributes
    assert len(found.class_names) == 3
    x = np.random.default_rng(0).random((1, 3, 64, 64))
    assert np.array_equal(last(found, x), last(model, x))


def test_folding_gives_the_convolutions_of_the_folded_model(tmp_path):
    name = "yolov7"
    unfolded = build(name, 1 / 8, classes=3, implicit=True, folded=False)
    expected = build(name, 1 / 8, classes=3, implicit=True)
    found = load_model(written(tmp_path, onnx_model(unfolded, "split")))
    weights = [
        sorted(node.arrays["weight"].tobytes() for node in model.nodes if node.op == "conv")
        for model in (found, expected)
    ]
    assert weights[0] == weights[1]


def changed(end="split", **changes):
    """A small exported network, with constants replaced by name."""
    exported = onnx_model(build("yolov7-tiny", 1 / 8, classes=3), end)
    for name, values in changes.items():
        (entry,) = [c for c in exported.graph.initializer if c.name == name.replace("__", ".")]
        entry.CopyFrom(numpy_helper.from_array(values, entry.name))
    return exported


@pytest.mark.parametrize(
    "changes",
    [
        {"end__1__wh3__c": np.full((1, 3, 1, 1, 2), 4 * 31, np.float32)[:, :2]},
        {"end__0__xy2__c": np.float32(15.9)},
        {"end__2__xy3__c": np.zeros((1, 1, 2, 4, 2), np.float32)},
        {"end__0__wh2__c": np.float32(3)},
    ],
)
def test_a_decode_that_differs_is_refused(tmp_path, changes):
    with pytest.raises(BadInput):
        load_model(written(tmp_path, changed(**changes)))


def test_other_anchors_are_read(tmp_path):
    """They are whatever the graph multiplies by: one of another size is no error."""
    anchors = np.array([[[[[7, 9]]], [[[16, 30]]], [[[33, 23]]]]], np.float32)
    path = written(tmp_path, changed(end__0__wh3__c=4 * anchors))
    assert load_model(path).head.arrays["anchors"][0].tolist() == [[7, 9], [16, 30], [33, 23]]


def test_levels_in_another_order_are_refused(tmp_path):
    exported = changed()
    join = exported.graph.node[-1]
    names = list(join.input)
    del join.input[:]
    join.input.extend(names[::-1])
    with pytest.raises(BadInput, match=r"not the decode of YOLOv7|not positive"):
        load_model(written(tmp_path, exported))


def conv_with(**attributes):
    operation, constants = head(**attributes)
    return [operation], constants


def node(kind, *inputs, constants=None, outputs=("y",), **attributes):
    made = helper.make_node(kind, list(inputs), list(outputs), **attributes)
    return [made], constants or {}


F = np.float32
SCALES = {"s": np.array([1, 1, 2, 2], F)}
REFUSED = {
    "groups": (conv_with(group=3), "group=3: only 1"),
    "dilation": (conv_with(dilations=[2, 2]), "only .1, 1."),
    "automatic padding": (conv_with(auto_pad="SAME_UPPER"), "auto_pad"),
    "other padding right": (conv_with(pads=[0, 0, 1, 1]), "the same for rows and columns"),
    "negative padding": (conv_with(pads=[-1] * 4), "choose up to 64"),
    "a stride of zero": (conv_with(strides=[0, 0]), "choose up to 64"),
    "a weight of two axes": (
        node("Conv", "images", "w", constants={"w": np.ones((3, 3), F)}),
        "w",
    ),
    "a weight that is a map": (node("Conv", "images", "images"), "no constant"),
    "a bias of another length": (
        node("Conv", "images", "w", "b", constants={"w": np.ones((2, 3, 1, 1), F), "b": F([1])}),
        "a bias is no constant",
    ),
    "a slope": (node("LeakyRelu", "images", alpha=0.2), "only 0.1"),
    "an unknown operation": (node("Softmax", "images"), "operation 0 .Softmax"),
    "of another domain": (node("Conv", "images", "images", domain="evil"), "operation 0 .Conv"),
    "cycles": (node("Add", "images", "y"), "'y', which nothing before it gives"),
    "itself twice": (node("Identity", "images", outputs=("images",)), "exists already"),
    "no outputs": (node("Sigmoid", "images", outputs=()), "not understood"),
    "no inputs": (node("Sigmoid"), "raw maps of strides"),
    "fewer inputs": (node("BatchNormalization", "images"), "not understood"),
    "a norm of maps": (node("BatchNormalization", *["images"] * 5), "no constants"),
    "a pool that rounds up": (node("MaxPool", "images", kernel_shape=[2, 2], ceil_mode=1), "ceil"),
    "a pool without a kernel": (node("MaxPool", "images"), "not understood"),
    "a pool with much padding": (
        node("MaxPool", "images", kernel_shape=[2, 2], pads=[2] * 4),
        "not supported",
    ),
    "bilinear": (node("Resize", "images", "", "s", constants=SCALES, mode="linear"), "mode"),
    "another nearest": (
        node("Resize", "images", "", "s", constants=SCALES, nearest_mode="ceil", mode="nearest"),
        "not supported",
    ),
    "no scales": (node("Resize", "images", mode="nearest"), "no constants"),
    "a scale of NaN": (
        node("Resize", "images", "", "s", constants={"s": F([1, 1, np.nan, 2])}, mode="nearest"),
        "not supported",
    ),
    "a negative variance": (
        node(
            "BatchNormalization",
            "images",
            *"abcd",
            constants=dict.fromkeys("abcd", -np.ones(3, F)),
        ),
        "a variance is negative",
    ),
    "a constant without a value": (node("Constant", value_string="x"), "its value"),
    "a graph as an attribute": (
        node("If", "images", then_branch=helper.make_graph([], "g", [], [])),
        "operation 0 .If",
    ),
}


def chain(*parts):
    """Operations of several nodes, and their constants."""
    return [made for part in parts for made in part[0]], {
        k: v for p in parts for k, v in p[1].items()
    }


I = np.int64
HALVES = {"zero": I([0]), "end": I([2**40]), "rows": I([2]), "columns": I([3]), "two": I([2])}


def half(x, y, axis, **constants):
    """Every other row or column."""
    return node(
        "Slice", x, "zero", "end", axis, "two", constants={**HALVES, **constants}, outputs=(y,)
    )


# What is no part of a network before its head is taken for what follows it.
LATE = "operation [01] .{}.*not understood|raw maps|read where only|no decode"
REFUSED |= {
    "maps of other channels added": (
        chain(conv_with(), node("Add", "images", "y", outputs=("z",))),
        "it adds maps of different shapes",
    ),
    "a constant of another shape added": (
        node("Add", "images", "c", constants={"c": F([1, 2])}),
        "operation 0 .Add.*do not fit",
    ),
    "a slice of a constant": (
        node("Slice", "c", "zero", "end", "rows", "two", constants={**HALVES, "c": F([1])}),
        LATE.format("Slice"),
    ),
    "every third row": (half("images", "y", "rows", two=I([3])), LATE.format("Slice")),
    "rows twice": (
        chain(half("images", "x", "rows"), half("x", "y", "rows")),
        LATE.format("Slice"),
    ),
    "a half alone": (half("images", "y", "rows"), "cut in parts|raw maps|not one per level"),
    "halves in another order": (
        chain(
            half("images", "a", "rows"),
            half("a", "b", "columns"),
            node("Concat", "b", "b", "b", "b", axis=1),
        ),
        "in another order than ReOrg",
    ),
    "rows joined": (node("Concat", "images", "images", axis=2), LATE.format("Concat")),
    "maps of other sizes joined": (
        chain(conv_with(), node("Concat", "images", "y", axis=1, outputs=("z",))),
        "it joins maps of different sizes",
    ),
    "many inputs": (node("Concat", *["images"] * 2000, axis=1), "it has more than"),
    "many channels": (
        chain(
            *(
                node("Concat", *[f"x{i}" if i else "images"] * 64, axis=1, outputs=(f"x{i + 1}",))
                for i in range(4)
            )
        ),
        "channels at stride",
    ),
}


@pytest.mark.parametrize(("parts", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_understood_is_named(tmp_path, parts, words):
    operations, constants = parts
    path = written(tmp_path, graph(operations, constants=constants))
    with pytest.raises(BadInput, match=words) as caught:
        load_model(path, arch="yolov7")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


SHAPES = {
    "four channels": ((1, 4, 64, 64), "its input has shape"),
    "three axes": ((3, 64, 64), "its input has shape"),
    "a huge image": ((1, 3, 10**6, 10**6), "more than"),
    "a huge batch": ((10**6, 3, 64, 64), "more than"),
    "negative": ((1, 3, -64, 64), "its input has shape"),
    "no multiple": ((1, 3, 60, 60), "no multiple of 8"),
}


@pytest.mark.parametrize(("shape", "words"), SHAPES.values(), ids=SHAPES.keys())
def test_images_of_other_shapes_are_refused(tmp_path, shape, words):
    operation, constants = head()
    path = written(tmp_path, graph([operation], constants=constants, shape=shape))
    with pytest.raises(BadInput, match=words):
        load_model(path, arch="yolov7")


def test_constants_may_be_operations(tmp_path):
    """And pass through Identity; a name that is taken gets a number."""
    operation, constants = head()
    operation.input[1] = "v"
    made = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(constants["w"])),
        helper.make_node("Constant", [], ["n"], value_ints=[1, 2]),
        helper.make_node("Identity", ["w"], ["v"]),
        operation,
        helper.make_node("Conv", ["images", "v"], ["z"], strides=[8, 8], pads=[0] * 4),
    ]
    path = written(tmp_path, graph(made, outputs=("y",)))
    with pytest.raises(BadInput, match=r"1 raw maps of \[18\] channels do not fit"):
        load_model(path, arch="yolov7")


def test_two_constants_of_one_name_are_refused(tmp_path):
    made = changed()
    made.graph.initializer.append(made.graph.initializer[0])
    with pytest.raises(BadInput, match="two tensors have this name"):
        load_model(written(tmp_path, made))


def test_a_name_that_is_no_text_is_a_name_or_refused(tmp_path, monkeypatch):
    """Protobuf gives bytes, or raises UnicodeDecodeError, as its version will."""
    operation, constants = head()
    data = graph([operation], constants=constants).SerializeToString()
    (tmp_path / "x.onnx").write_bytes(data.replace(b"images", b"im\xffges"))
    with pytest.raises(BadInput, match=r"not UTF-8|do not fit to these anchors"):
        load_model(tmp_path / "x.onnx", arch="yolov7")
    monkeypatch.setattr(onnx_file, "parse", lambda data: data.decode("utf-8"))
    with pytest.raises(BadInput, match="a name in it is not UTF-8"):
        load_model(tmp_path / "x.onnx", arch="yolov7")


def raw_map(filters, stride=8, name="y"):
    """A convolution as the map of a level; its weight may be that of another one too."""
    constants = {"a.weight": np.ones((filters, 3, 8, 8), F)}
    own = {"strides": [stride] * 2, "pads": [0] * 4}
    return node("Conv", "images", "a.weight", constants=constants, outputs=(name,), **own)


# What follows the raw maps, and what it is not.
ENDINGS = {
    "a part": (
        chain(raw_map(3), half("images", "p", "rows"), node("Add", "y", "p", outputs=("z",))),
        "z",
        "read where only",
    ),
    "no decode": (
        chain(
            raw_map(18), node("Reshape", "y", "s", constants={"s": I([1, 192, 6])}, outputs=("z",))
        ),
        "z",
        "anchors are not positive",
    ),
    "a row less": (
        chain(
            raw_map(18),
            node("Reshape", "y", "s", constants={"s": I([1, 192, 6])}, outputs=("t",)),
            node(
                "Slice",
                "t",
                "zero",
                "most",
                "one",
                "",
                constants={"zero": I([0]), "most": I([191]), "one": I([1])},
                outputs=("z",),
            ),
        ),
        "z",
        "do not fit to these anchors",
    ),
    "no classes": (
        chain(*(raw_map(15, 8 << k, f"y{k}") for k in range(3))),
        ("y0", "y1", "y2"),
        "5 entries per anchor",
    ),
    "a map turned": (
        chain(
            *(raw_map(18, 8 << k, f"y{k}") for k in range(3)),
            node("Transpose", "y2", perm=[0, 3, 2, 1], outputs=("z",)),
        ),
        ("y0", "y1", "z"),
        "none of its outputs is the raw map 'a.3'",
    ),
}


@pytest.mark.parametrize(("parts", "outputs", "words"), ENDINGS.values(), ids=ENDINGS.keys())
def test_endings_that_are_no_decode_are_refused(tmp_path, parts, outputs, words):
    operations, constants = parts
    path = written(tmp_path, graph(operations, outputs=tuple(outputs), constants=constants))
    with pytest.raises(BadInput, match=words):
        load_model(path, arch="yolov7")


OPERATIONS = {
    # kind: (inputs, attributes, result)
    "Squeeze": (([[1.0]], [0]), {}, [1]),
    "Unsqueeze": (([1.0],), {"axes": [0]}, [[1]]),
    "Cast": (([1.5, 2.0],), {"to": 7}, [1, 2]),
    "Gather": (([[1, 2], [3, 4]], [1, 1]), {}, [[3, 4], [3, 4]]),
    "Shape": (([[1, 2]],), {}, [1, 2]),
    "Reshape": (([[1, 2]], [0, -1]), {}, [[1, 2]]),
    "Split": (([1, 2, 3], [1, 2]), {}, [1]),
    "Slice": (([1, 2, 3], [1], [3]), {}, [2, 3]),
    "Pow": (([3.0], [2.0]), {}, [9]),
    "Div": (([7], [2]), {}, [3]),
}


def evaluated(kind, inputs, attributes, left=100):
    operation = SimpleNamespace(op_type=kind)
    arrays = [np.array(x) for x in inputs]
    return onnx_evaluate.run("operation 5", operation, attributes, arrays, left)[0]


@pytest.mark.parametrize("kind", OPERATIONS)
def test_operations_of_a_decode_by_hand(kind):
    inputs, attributes, result = OPERATIONS[kind]
    assert evaluated(kind, inputs, attributes).tolist() == result


MISFITS = {
    "no zero": ("Reshape", ([1, 2], [0, 2]), {"allowzero": 1}),
    "parts that do not add up": ("Split", ([1, 2, 3], [1, 1]), {}),
    "a step backwards": ("Slice", ([1, 2], [0], [2], [0], [-1]), {}),
    "nine axes": ("Squeeze", ([1], list(range(9))), {}),
    "an unknown type": ("Cast", ([1],), {"to": 8}),
    "a cube": ("Pow", ([1.0], [3.0]), {}),
    "no axis": ("Concat", ([1], [2]), {}),
    "an index beyond": ("Gather", ([1], [5]), {}),
}


@pytest.mark.parametrize(("kind", "inputs", "attributes"), MISFITS.values(), ids=MISFITS.keys())
def test_operations_that_do_not_fit_are_refused(kind, inputs, attributes):
    with pytest.raises(BadInput, match="operation 5: its inputs or attributes do not fit"):
        evaluated(kind, inputs, attributes)


def test_a_slice_for_each_index_is_counted_before_it_is_made():
    """A hundred indices of a row of a hundred numbers: 10,000 from 200."""
    inputs = (np.zeros((1, 100)), np.zeros(100, int))
    assert evaluated("Gather", inputs, {}, left=10_000).shape == (100, 100)
    with pytest.raises(BadInput, match="computes more than"):
        evaluated("Gather", inputs, {}, left=9_999)


def test_graphs_without_an_image_or_with_two_are_refused(tmp_path):
    operation, constants = head()
    for inputs in ((), ("images", "more")):
        with pytest.raises(BadInput, match="inputs, not one image"):
            load_model(written(tmp_path, graph([operation], (), inputs, constants)))
    with pytest.raises(BadInput, match="nothing gives its output 'z'"):
        load_model(written(tmp_path, graph([operation], ("z",), constants=constants)))


def tensor(**changes):
    made = numpy_helper.from_array(np.arange(6, dtype=F).reshape(2, 3), "w")
    for key, value in changes.items():
        if key == "dims":
            del made.dims[:]
            made.dims.extend(value)
        else:
            setattr(made, key, value)
    return made


LIES = {
    "more numbers": (tensor(dims=[2, 4]), "are not those of 6 numbers"),
    "two gigabytes": (tensor(dims=[2**29]), "are not those of 6 numbers"),
    "a size that overflows": (tensor(dims=[2**62, 2**62]), "are not those of 6 numbers"),
    "negative sizes": (tensor(dims=[-2, -3]), "one is negative"),
    "half a number": (tensor(raw_data=b"12345"), "are not those of 1 numbers"),
    "another type": (tensor(data_type=TensorProto.STRING), "type 8 with 2 axes"),
    "many axes": (tensor(dims=[1] * 9), "9 axes"),
    "external data": (tensor(data_location=TensorProto.EXTERNAL), "in another file"),
}


@pytest.mark.parametrize(("lie", "words"), LIES.values(), ids=LIES.keys())
def test_tensors_that_lie_are_refused(lie, words):
    with pytest.raises(BadInput, match=words) as caught:
        array(lie)
    assert str(caught.value).startswith("tensor 'w': ")


def test_external_data_are_not_even_looked_for(tmp_path):
    exported = changed()
    entry = exported.graph.initializer[0]
    entry.ClearField("raw_data")
    entry.external_data.add(key="location", value="../../../../etc/hostname")
    with pytest.raises(BadInput, match="its numbers are in another file: save the model in one"):
        load_model(written(tmp_path, exported))


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "i4", "?"])
def test_numbers_may_be_in_fields(dtype):
    values = np.array([[0, 1], [1, 0]], dtype)
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    bits = {"f2": np.uint16, "?": np.uint8}.get(dtype, values.dtype)
    flat = values.ravel().view(bits)
    made = TensorProto(name="w", data_type=kind, dims=[2, 2])
    field = {"f4": "float_data", "f8": "double_data", "i8": "int64_data"}.get(dtype, "int32_data")
    getattr(made, field).extend(flat.tolist())
    for found in (array(made), array(numpy_helper.from_array(values, "w"))):
        assert found.dtype == values.dtype
        assert found.tolist() == values.tolist()


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\xff" * 100, b"\x3a\x05abc"])
def test_what_is_no_onnx_is_refused(tmp_path, data):
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(BadInput, match=r"x\.onnx: "):
        load_model(tmp_path / "x.onnx")


def test_too_much_is_refused(tmp_path, monkeypatch):
    path = written(tmp_path, changed())
    monkeypatch.setattr(onnx_evaluate, "MOST_NUMBERS", 1000)
    with pytest.raises(BadInput, match="computes more than 1000 numbers"):
        load_model(path)
    monkeypatch.setattr(onnx_evaluate, "MOST_OPERATIONS", 10)
    with pytest.raises(BadInput, match="operations follow its raw maps"):
        load_model(path)
    monkeypatch.setattr(onnx_file, "MOST_NODES", 10)
    with pytest.raises(BadInput, match="operations, a model has 1 to 10"):
        load_model(path)
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 10)
    with pytest.raises(BadInput, match="more than 10 bytes"):
        load_model(path)


def test_raw_maps_without_end_are_refused_before_they_are_made(tmp_path):
    operation, constants = head()
    path = written(tmp_path, graph([operation], constants=constants, shape=(64, 3, 4096, 4096)))
    with pytest.raises(BadInput, match="its raw maps have more than 33554432 numbers"):
        load_model(path, arch="yolov7")


def test_without_the_library_the_remedy_is_told(tmp_path, monkeypatch):
    path = written(tmp_path, changed())
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(BadInput, match=r"pip install 'refquant\[onnx\]'"):
        load_model(path)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(BadInput, match=r"cannot be read \(No such file"):
        onnx_file.read(tmp_path / "x.onnx")
