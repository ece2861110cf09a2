"""Checkpoints that are refused: by the name of what is wrong, in one line, with nothing run."""

import os
import shutil

import numpy as np
import pytest
from make_checkpoint import stripped
from pickle_writer import Call, Name, dumps
from torch_objects import Objects, archive, save, tensor
from zoo import at, write_zoo, zoo

from refquant.arrays.errors import BadInput
from refquant.formats.torch import checkpoint as torch_checkpoint
from refquant.formats.torch import legacy as torch_legacy
from refquant.formats.torch.checkpoint import read


def refused(path, *words: str) -> None:
    """The checkpoint is refused in one line that names the file and holds the words."""
    with pytest.raises(BadInput) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_pickle_that_calls_the_shell_is_refused_and_does_nothing(tmp_path):
    witness = tmp_path / "witness"
    call = Call(Name(os.name, "system"), (f"touch {witness}",))
    path = save(tmp_path / "x.pt", {"model": call}, [])
    refused(path, f"'{os.name}.system'", "nothing was run")

    def hide(model, objects):
        at(model, "model.4").attributes["hidden"] = call

    refused(write_zoo(path, hide), f"'{os.name}.system'")
    assert not witness.exists()


def test_a_state_dict_is_refused_with_what_it_lacks(tmp_path):
    objects = Objects()
    weights = {"model.0.conv.weight": objects.tensor(np.zeros((8, 3, 3, 3), np.float16))}
    ordered = Call(Name("collections", "OrderedDict"))
    for value in (weights, {"state_dict": weights}, {"model": weights, "epoch": 3}):
        refused(
            save(tmp_path / "x.pt", value, objects.storages), "state_dict", "name it with --arch"
        )
    for value in ({}, [], None, 3, "text", {"model": None}, ordered):
        refused(save(tmp_path / "x.pt", value, objects.storages), "no model under")


def test_missing_storages_are_named_with_their_tensors(tmp_path):
    objects = Objects()
    value = stripped(objects.model(zoo(), "Detect"))
    members = {f"a/data/{key}": data for key, data in enumerate(objects.storages)}
    del members["a/data/1"], members["a/data/3"]
    path = tmp_path / "x.pt"
    path.write_bytes(archive({"a/data.pkl": dumps(value), **members}))
    named = "1 (model.0.conv.bn.weight)", "3 (model.0.conv.bn.running_mean)"
    refused(path, "missing storages", *named)


def test_a_storage_shorter_than_its_tensor_is_refused(tmp_path):
    objects = Objects()
    value = stripped(objects.model(zoo(), "Detect"))
    storages = [data[:-2] if key == 0 else data for key, data in enumerate(objects.storages)]
    refused(save(tmp_path / "x.pt", value, storages), "storage 0 holds", "not")


def set_attribute(name: str, **values):
    def change(model, objects):
        at(model, name).attributes.update(values)

    return name, change


def without(name: str, where: str, key: str):
    def change(model, objects):
        del at(model, name).attributes[where][key]

    return name, change


def parameter(name: str, key: str, values: np.ndarray):
    def change(model, objects):
        at(model, name).attributes["_parameters"].update(objects.parameters(**{key: values}))

    return name, change


def view(name: str, offset, size, stride):
    """A weight that claims another view of its storage of 64 numbers."""

    def change(model, objects):
        objects.storages.append(bytes(128))
        key = str(len(objects.storages) - 1)
        reference = ("storage", Name("torch", "HalfStorage"), key, "cpu", 64)
        claim = tensor(reference, offset, size, stride)
        at(model, name).attributes["_parameters"]["weight"] = claim

    return name, change


def renamed(name: str, kind: str, module: str = "models.common"):
    def change(model, objects):
        at(model, name).name = Name(module, kind)

    return name, change


CONV, BN, HEAD, POOL, UP = "model.4.conv", "model.4.bn", "model.17", "model.7.m", "model.14"
WRONG = {
    "groups": set_attribute(CONV, groups=2),
    "dilation": set_attribute(CONV, dilation=(2, 2)),
    "padding mode": set_attribute(CONV, padding_mode="reflect"),
    "padding by name": set_attribute(CONV, padding="same"),
    "much padding": set_attribute(CONV, padding=(3, 3)),
    "transposed": set_attribute(CONV, transposed=True),
    "a kernel that is not square": set_attribute(CONV, kernel_size=(1, 3)),
    "a kernel unlike the weight": set_attribute(CONV, kernel_size=(3, 3)),
    "strides that differ": set_attribute(CONV, stride=(1, 2)),
    "a stride of 0": set_attribute(CONV, stride=(0, 0)),
    "a stride of a billion": set_attribute(CONV, stride=(10**9, 10**9)),
    "a stride of True": set_attribute(CONV, stride=True),
    "no stride": set_attribute(CONV, stride=None),
    "a stride that does not fit the graph": ("model.5", set_attribute(CONV, stride=(2, 2))[1]),
    "no weight": without(CONV, "_parameters", "weight"),
    "a weight of five axes": parameter(CONV, "weight", np.zeros((8, 8, 1, 1, 1), np.float16)),
    "a weight of no filters": parameter(CONV, "weight", np.zeros((0, 8, 1, 1), np.float16)),
    "a weight of integers": parameter(CONV, "weight", np.zeros((8, 8, 1, 1), np.int64)),
    "a weight for other channels": parameter(CONV, "weight", np.zeros((8, 9, 1, 1), np.float16)),
    "a weight of more filters": parameter(CONV, "weight", np.zeros((9, 8, 1, 1), np.float16)),
    "a bias of another length": parameter(CONV, "bias", np.zeros(9, np.float16)),
    "a view beyond its storage": view(CONV, 1, (8, 8, 1, 1), (8, 1, 1, 1)),
    "a view backwards": view(CONV, 63, (8, 8, 1, 1), (-8, -1, 1, 1)),
    "a view that overflows": view(CONV, 0, (8, 8, 1, 1), (2**63, 1, 1, 1)),
    "eps of 0": set_attribute(BN, eps=0.0),
    "eps of NaN": set_attribute(BN, eps=float("nan")),
    "eps as a text": set_attribute(BN, eps="0.001"),
    "no eps": set_attribute(BN, eps=None),
    "no affine": set_attribute(BN, affine=False),
    "no statistics": without(BN, "_buffers", "running_mean"),
    "a norm of other channels": parameter(BN, "weight", np.ones(9, np.float16)),
    "pooling of odd sizes": set_attribute(POOL, kernel_size=(2, 3)),
    "pooling rounded up": set_attribute(POOL, ceil_mode=True),
    "pooling dilated": set_attribute(POOL, dilation=2),
    "pooling mostly padding": set_attribute(POOL, padding=2),
    "pooling that does not fit": set_attribute(POOL, kernel_size=3),
    "bilinear": set_attribute(UP, mode="bilinear"),
    "a scale of 1.5": set_attribute(UP, scale_factor=1.5),
    "a scale of NaN": set_attribute(UP, scale_factor=float("nan")),
    "scales that differ": set_attribute(UP, scale_factor=(2.0, 1.0)),
    "a size instead of a scale": set_attribute(UP, size=(40, 40)),
    "another slope": set_attribute("model.2.act", negative_slope=0.01),
    "no slope": set_attribute("model.2.act", negative_slope=None),
    "another activation": renamed("model.4.act", "Hardswish", "torch.nn.modules.activation"),
    "an unknown module": renamed("model.12", "GhostConv"),
    "concat along rows": set_attribute("model.15", d=2),
    "a convolution of two layers": set_attribute("model.4", f=[-1, -2]),
    "nothing to read": set_attribute("model.15", f=[]),
    "layers as a text": set_attribute("model.15", f="-1"),
    "layers that follow": set_attribute("model.15", f=[-1, 16]),
    "itself": set_attribute("model.15", f=[-1, 15]),
    "layers before the image": set_attribute("model.15", f=[-1, -16]),
    "a layer of True": set_attribute("model.15", f=[-1, True]),
    "many layers": set_attribute("model.15", f=[-1] * 1000),
    "maps of two sizes": set_attribute("model.15", f=[-1, 7]),
    "a sum of unequal maps": set_attribute("model.5", f=[-1, 1]),
    "SPPCSPC without a part": without("model.10", "_modules", "cv5"),
    "RepConv without a branch": without("model.11", "_modules", "rbr_1x1"),
    "C3 without its chain": without("model.6", "_modules", "m"),
    "a child that is no module": set_attribute("model.6", _modules={"cv1": 3}),
    "a child of a name that is none": set_attribute("model.6", _modules={"a/../b": None, "": 3}),
    "children that are no dictionary": set_attribute("model.6", _modules=None),
    "no number of classes": set_attribute(HEAD, nc=None),
    "another number of classes": set_attribute(HEAD, nc=80),
    "no strides": set_attribute(HEAD, stride=None),
    "no convolutions": without(HEAD, "_modules", "m"),
    "fewer convolutions": without(HEAD + ".m", "_modules", "1"),
    "a level less": set_attribute(HEAD, f=[16]),
    "levels in the wrong order": set_attribute(HEAD, f=[13, 16]),
}


@pytest.mark.parametrize(("name", "change"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_supported_is_refused_by_the_layers_name(tmp_path, name, change):
    refused(write_zoo(tmp_path / "x.pt", change), ".".join(name.split(".")[:2]))


@pytest.mark.parametrize(
    "strides", ([8.0], [8, 16, 32], [8, 8], [8, 12], [0, 16], [np.nan, 16], [])
)
def test_strides_that_do_not_fit_are_refused(tmp_path, strides):
    def change(model, objects):
        at(model, HEAD).attributes["stride"] = objects.tensor(np.array(strides, np.float32))

    refused(write_zoo(tmp_path / "x.pt", change), "stride")


def test_a_negative_variance_is_refused(tmp_path):
    def change(model, objects):
        bad = objects.tensor(np.full(8, -1, np.float16))
        at(model, BN).attributes["_buffers"]["running_var"] = bad

    refused(write_zoo(tmp_path / "x.pt", change), "model.4.bn.running_var", "negative")


def test_a_network_without_a_head_or_out_of_order_is_refused(tmp_path):
    def headless(model, objects):
        del at(model, "model").attributes["_modules"]["17"]

    def reordered(model, objects):
        layers = at(model, "model").attributes["_modules"]
        layers["0"] = layers.pop("0")

    def empty(model, objects):
        at(model, "model").attributes["_modules"] = {}

    def another_root(model, objects):
        return {"model": objects.module("Conv2d")}

    refused(write_zoo(tmp_path / "x.pt", headless), "no detection head")
    refused(write_zoo(tmp_path / "x.pt", reordered), "not numbered")
    refused(write_zoo(tmp_path / "x.pt", empty), "no detection head")
    refused(write_zoo(tmp_path / "x.pt", another_root), "no chain of layers")


def test_few_objects_that_stand_for_very_many_modules_are_refused(tmp_path):
    """Sixty modules, each twice within the next, would be 2**60; one within itself has no end."""

    def double(model, objects):
        inner = at(model, "model.16")
        for _ in range(60):
            outer = objects.module("Sequential", _modules={"0": inner, "1": inner})
            inner = outer
        at(model, "model.16").attributes["_modules"] = {"0": inner}

    def loop(model, objects):
        layer = at(model, "model.16")
        layer.attributes["_modules"] = {"0": layer}

    def wide(model, objects):
        conv = at(model, "model.16.0")
        at(model, "model.16").attributes["_modules"] = {str(i): conv for i in range(10**4)}

    refused(write_zoo(tmp_path / "x.pt", double), "more than 4096 modules")
    refused(write_zoo(tmp_path / "x.pt", loop), "nested 16 deep")
    refused(write_zoo(tmp_path / "x.pt", wide), "up to 1024 entries")


def test_bytes_after_the_pickle_are_refused(tmp_path):
    objects = Objects()
    data = dumps(stripped(objects.model(zoo(), "Detect")))
    members = {f"a/data/{key}": part for key, part in enumerate(objects.storages)}
    path = tmp_path / "x.pt"
    path.write_bytes(archive({"a/data.pkl": data + b"N.", **members}))
    refused(path, "2 bytes follow the pickle")


def test_damage_gives_a_model_or_bad_input_and_nothing_else(tmp_path):
    """Bytes of the pickle changed at random, checksums made to fit."""
    rng = np.random.default_rng(0)
    objects = Objects()
    data = dumps(stripped(objects.model(zoo(), "Detect")))
    members = {f"a/data/{key}": part for key, part in enumerate(objects.storages)}
    path, refusals = tmp_path / "x.pt", 0
    for _ in range(60):
        damaged = bytearray(data)
        for place in rng.integers(len(data), size=rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        path.write_bytes(archive({"a/data.pkl": bytes(damaged), **members}))
        try:
            read(path)
        except BadInput:
            refusals += 1
    assert 10 < refusals < 60


def test_cut_files_are_refused(tmp_path):
    whole = write_zoo(tmp_path / "x.pt").read_bytes()
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        refused(tmp_path / "cut.pt")


def test_what_cannot_be_opened_is_told(tmp_path):
    for path in (tmp_path, tmp_path / "none.pt", tmp_path / ("a" * 300)):
        with pytest.raises(BadInput, match=r"not a regular file|cannot be read"):
            torch_checkpoint.read(path)
    with (
        pytest.raises(BadInput, match=r"cannot be read \(No such file"),
        torch_legacy.open_legacy(tmp_path / "none.pt"),
    ):
        pass


def test_a_pickle_that_is_too_long_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_checkpoint, "MAX_BYTES", 100)
    refused(write_zoo(tmp_path / "x.pt"), "bytes are more than 100")


@pytest.mark.parametrize("key", ("anchor_grid", "anchors"))
def test_anchors_of_another_shape_are_refused(tmp_path, key):
    def change(model, objects):
        buffers = at(model, HEAD).attributes["_buffers"]
        buffers[key] = objects.tensor(np.ones((3, 3, 2), np.float16))

    path = write_zoo(tmp_path / "x.pt", change, anchor_grid=key == "anchor_grid")
    refused(path, f"model.17.{key}: shape (3, 3, 2)")


def test_an_implicit_layer_of_another_shape_is_refused(tmp_path):
    _, change = parameter("model.17.ia.0", "implicit", np.ones((8, 1), np.float16))
    refused(write_zoo(tmp_path / "x.pt", change, head="IDetect"), "ia.0.implicit: shape (8, 1)")


def test_a_leaky_relu_without_a_slope_is_refused(tmp_path):
    def change(model, objects):
        del at(model, "model.2.act").attributes["negative_slope"]

    refused(write_zoo(tmp_path / "x.pt", change), "model.2.act: negative_slope")


def test_reading_changes_nothing_on_the_disk(tmp_path):
    path = write_zoo(tmp_path / "x.pt")
    before = path.read_bytes()
    shutil.copy(path, tmp_path / "copy.pt")
    os.chmod(tmp_path / "copy.pt", 0o400)
    read(tmp_path / "copy.pt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.pt", "x.pt"]
    assert path.read_bytes() == before
