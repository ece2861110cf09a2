"""Tensors by name and an architecture's name: the network of the whole checkpoint."""

import numpy as np
import pytest
from fuse_checkpoint import fuse
from make_checkpoint import HEADS, network, stripped
from state_dict_writer import save_legacy, state_dict, tensors
from torch_objects import Objects, save

from refquant.arrays.errors import BadInput
from refquant.formats.catalogue import load_model, save_model
from refquant.formats.state_dict import Tensors, connected
from refquant.formats.tensor_names import canonical, hint
from refquant.graph.architecture import ARCHITECTURES
from refquant.graph.graph import cast
from refquant.graph.lower import lower


def in_memory(arrays: dict[str, np.ndarray]) -> Tensors:
    return Tensors({name: a.shape for name, a in arrays.items()}, arrays.__getitem__)


def written(path, arrays, place=lambda found: found, container="zip"):
    """A file of these arrays by name; place(OrderedDict) is its top-level object."""
    objects = Objects()
    value = place(tensors(objects, arrays))
    if container == "legacy":
        return save_legacy(path, value, objects)
    return save(path, value, objects.storages)


def whole(path, layers, head, fused=False):
    objects = Objects()
    return save(path, stripped(objects.model(layers, head, fused)), objects.storages)


def nodes_equal(first, second) -> bool:
    """Names, wiring, attributes and every number."""
    return len(first) == len(second) and all(
        (a.name, a.op, a.inputs, dict(a.attributes))
        == (b.name, b.op, b.inputs, dict(b.attributes))
        and a.arrays.keys() == b.arrays.keys()
        and all(np.array_equal(values, b.arrays[key]) for key, values in a.arrays.items())
        for a, b in zip(first, second, strict=True)
    )


def test_names_of_a_worked_example():
    names = ["module.model.0.conv.weight", "module.model.105.m.0.bias"]
    assert canonical(names) == {"0.conv.weight": names[0], "105.m.0.bias": names[1]}
    assert canonical(["007.bn.weight"]) == {"7.bn.weight": "007.bn.weight"}


# Networks of three levels have no auxiliary layers.
FORMS = [(n, h) for n in ARCHITECTURES for h in HEADS if "6" in n or h != "IAuxDetect"]


@pytest.mark.parametrize(("name", "head"), FORMS)
def test_layers_are_those_that_the_tensors_were_taken_from(name, head):
    layers = network(name, head=head)
    found = connected(in_memory(state_dict(layers)), name)
    assert nodes_equal(lower(found.layers), lower(layers))
    assert (found.classes, found.head) == (3, head)
    assert found.form == ("deploy" if head == "Detect" else "training")


@pytest.mark.parametrize("head", ("Detect", "IDetect"))
@pytest.mark.parametrize("name", ("yolov7", "yolov7-tiny"))
@pytest.mark.parametrize("fused", (False, True))
def test_the_content_hash_is_that_of_the_whole_checkpoint(tmp_path, name, head, fused):
    """A fused IDetect still has ia and im; they are in the convolutions already."""
    layers = network(name, head=head)
    layers = fuse(layers) if fused else layers
    whole_file = whole(tmp_path / "whole.pt", layers, head, fused)
    by_name = written(tmp_path / "names.pt", state_dict(layers))
    models = load_model(whole_file), load_model(by_name, arch=name)
    assert save_model(models[0], tmp_path / "a.h5") == save_model(models[1], tmp_path / "b.h5")
    assert models[0].counts == models[1].counts
    assert models[1].source["form"] == models[0].source["form"]
    assert models[1].class_names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("prefix", ("", "model.", "module.model.", "ema.module.model."))
def test_prefixes_are_taken_off(prefix):
    layers = network("yolov7-tiny")
    found = connected(in_memory(state_dict(layers, prefix)), "yolov7-tiny")
    assert nodes_equal(lower(found.layers), lower(layers))


PLACES = {
    "": lambda found: found,
    "ema": lambda found: {"epoch": 3, "ema": found, "model": None},
    "model": lambda found: {"epoch": 3, "model": found},
    "state_dict": lambda found: {"state_dict": found},
    "net": lambda found: {"net": found},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("container", ("zip", "legacy"))
def test_tensors_are_found_where_they_usually_are(tmp_path, place, container):
    layers = network("yolov7-tiny")
    path = written(tmp_path / "x.pt", state_dict(layers), PLACES[place], container)
    model = load_model(path, fold=False, arch="yolov7-tiny")
    expected = tuple(cast(node, np.float32) for node in lower(layers))
    assert model.source["selected"] == place
    assert nodes_equal(model.nodes, expected)


def test_a_repconv_with_an_identity_branch_is_read():
    layers = network("yolov7")
    arrays = state_dict(layers)
    norm = {"weight": 1, "bias": 2, "running_mean": 3, "running_var": 4}
    arrays |= {f"model.102.rbr_identity.{k}": np.full(32, v, "f2") for k, v in norm.items()}
    nodes = {node.name: node for node in lower(connected(in_memory(arrays), "yolov7").layers)}
    assert nodes["model.102.add"].inputs[2] == "model.102.rbr_identity"
    assert nodes["model.102.rbr_identity"].arrays["variance"].tolist() == [4] * 32


def test_anchors_in_units_of_the_stride_serve_too():
    arrays = state_dict(network("yolov7-tiny"))
    del arrays["model.77.anchor_grid"]
    anchors = lower(connected(in_memory(arrays), "yolov7-tiny").layers)[-1].arrays["anchors"]
    assert anchors[2, 2].tolist() == [373, 326]
    del arrays["model.77.anchors"]
    with pytest.raises(BadInput, match=r"model\.77\.anchors: this tensor .* is missing"):
        connected(in_memory(arrays), "yolov7-tiny")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_hint_names_what_fits(name):
    auxiliary = ("IAuxDetect",) if "6" in name else ()
    for head in ("Detect", *auxiliary):
        names = canonical(state_dict(network(name, head=head)))
        tiny = "it looks like yolov7-tiny or yolov7-tiny-silu"
        assert hint(names) == (tiny if "tiny" in name else f"it looks like {name}")
        assert hint(fused_names(names)) == hint(names)
    assert hint(["0.conv.weight"]).startswith("it looks like none of yolov7 |")


def fused_names(names):
    return [n for n in names if ".bn." not in n and "rbr_dense.1" not in n]


def changed(change):
    arrays = state_dict(network("yolov7-tiny", head="IDetect"))
    change(arrays)
    return in_memory(arrays)


def put(name, values):
    return lambda arrays: arrays.__setitem__(name, np.asarray(values))


WRONG = {
    "a tensor is missing": (lambda a: a.pop("model.3.conv.weight"), "model.3.conv.weight: this"),
    "a norm is missing": (lambda a: a.pop("model.3.bn.running_mean"), "model.3.bn.running_mean"),
    "a tensor too many": (put("model.8.conv.weight", [1]), "no place for model.8.conv.weight"),
    "many too many": (
        lambda a: [put(f"model.{i}.x", [1])(a) for i in range(200, 209)],
        "model.204.x and 4 more",
    ),
    "a kernel of another size": (put("model.0.conv.weight", np.ones((8, 3, 1, 1), "f2")), "shape"),
    "fewer axes": (put("model.0.bn.weight", np.float16(1)), r"shape \(\) is not \(any\)"),
    "an empty axis": (put("model.0.bn.weight", np.ones(0, "f2")), "is not"),
    "integers": (put("model.0.bn.weight", np.ones(8, "i8")), "int64 is not floating point"),
    "a negative variance": (put("model.0.bn.running_var", -np.ones(8, "f2")), "negative"),
    "a name of no layer": (put("optimizer", [1]), "'optimizer' is not the name"),
    "two prefixes": (put("module.model.0.x", [1]), "2 prefixes: 'model.', 'module.model.'"),
    "another number of filters": (
        put("model.77.m.0.weight", np.ones((25, 32, 1, 1), "f2")),
        "model.77.m.0.bias: shape",
    ),
    "filters of no class": (
        lambda a: [
            put(f"model.77.m.{k}.{key}", a[f"model.77.m.{k}.{key}"][:15])(a)
            for k in range(3)
            for key in ("weight", "bias")
        ],
        r"\[15\] filters for 3 anchors",
    ),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_refused_by_name(change, words):
    with pytest.raises(BadInput, match=words) as caught:
        connected(changed(change), "yolov7-tiny")
    assert "\n" not in str(caught.value)


def test_a_fused_file_whose_convolution_has_no_bias_is_refused():
    arrays = state_dict(fuse(network("yolov7-tiny")))
    del arrays["model.0.conv.bias"]
    with pytest.raises(BadInput, match=r"model\.0\.conv\.bias"):
        connected(in_memory(arrays), "yolov7-tiny")


def test_the_wrong_architecture_is_told_the_right_one():
    tensors = in_memory(state_dict(network("yolov7-w6")))
    with pytest.raises(BadInput, match="it looks like yolov7-w6"):
        connected(tensors, "yolov7")
    with pytest.raises(BadInput, match=r"--arch; it looks like yolov7-w6"):
        connected(tensors, None)
    with pytest.raises(BadInput, match=r"architecture='yolov8': choose yolov7 \|"):
        connected(tensors, "yolov8")


def test_maps_that_do_not_fit_are_refused_by_the_layer(tmp_path):
    arrays = state_dict(network("yolov7-tiny"))
    arrays["model.1.conv.weight"] = np.ones((16, 7, 3, 3), "f2")
    path = written(tmp_path / "x.pt", arrays)
    with pytest.raises(BadInput, match=r"model\.1\.conv: has weights for 7 channels"):
        load_model(path, arch="yolov7-tiny")


def test_an_architecture_for_a_file_that_has_its_own_is_refused(tmp_path):
    path = whole(tmp_path / "x.pt", network("yolov7-tiny"), "Detect")
    with pytest.raises(BadInput, match="arch=yolov7-tiny: the file says itself"):
        load_model(path, arch="yolov7-tiny")
    save_model(load_model(path), tmp_path / "x.h5")
    for name in (tmp_path / "x.h5", "random:yolov7-tiny"):
        with pytest.raises(BadInput, match=r"arch=yolov7: .* leave it away"):
            load_model(name, arch="yolov7")


def test_what_is_among_tensors_but_none_is_refused(tmp_path):
    path = written(tmp_path / "x.pt", {"model.0.conv.weight": np.ones(3, "f2")})
    objects = Objects()
    mixed = {"model.0.conv.weight": objects.tensor(np.ones(3, "f2")), "epoch": 3}
    save(path, mixed, objects.storages)
    with pytest.raises(BadInput, match="'epoch' is not the name of a tensor"):
        load_model(path, arch="yolov7")


def test_convert_takes_the_architecture(tmp_path, capsys):
    from refquant.cli.main import main

    path = str(written(tmp_path / "x.pt", state_dict(network("yolov7-tiny"))))
    assert main(["convert", path]) == 3
    assert "it looks like yolov7-tiny or yolov7-tiny-silu" in capsys.readouterr().err
    assert main(["convert", path, "--arch", "yolov7-tiny"]) == 0
    assert (tmp_path / "x.h5").is_file()
