"""The HDF5 store: what is written, and that it comes back."""

import hashlib
import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise, product

import h5py
import numpy as np
import pytest
from nasty import NASTY
from places import ROOT
from small_model import DECODE, HEAD, JOINED, STEM, quantized, same, saved, small_model, with_node

from refquant.arrays.errors import BadInput
from refquant.formats.catalogue import load_model, save_model
from refquant.formats.hdf5.check import DTYPES
from refquant.formats.maps import OUTPUTS
from refquant.formats.model_check import ARRAYS, ATTRIBUTES
from refquant.graph.architecture import build
from refquant.graph.fold import fold
from refquant.graph.graph import Node, cast
from refquant.ops.catalogue import OPS
from refquant.quant.granularity import GRANULARITIES
from refquant.quant.recipe import quantize_model, uniform
from refquant.quant.schemes import every_scheme
from refquant.quant.tensor import quantize

DOC = ROOT / "docs" / "hdf5.md"


def test_a_worked_example(tmp_path):
    # Codes 0 1 1 3 4 15, scale 1, zero point 1: the range is 15, and ties go to even.
    weight = np.tile(np.array([-1.0, 0.0, 0.5, 1.5, 2.75, 14.0], np.float32), 32)
    model = quantize_model(small_model(weight.reshape(1, 3, 8, 8)), uniform(bits=4))
    with h5py.File(saved(model, tmp_path)) as file:
        group = file[STEM]
        assert sorted(group) == ["bias", "codes", "scale", "zero_point"]
        assert group["codes"][...].tolist() == [0x10, 0x31, 0xF4] * 32  # the first code is low
        assert group["scale"][...].tolist() == [[1.0]]
        assert group["zero_point"][...].tolist() == [[1]]
        assert group.attrs["node"] == (
            b'{"attributes":{"activation":"silu","padding":0,"stride":8},"index":0,'
            b'"inputs":["images"],"op":"conv","quantized":{"axes":"F","bits":4,"code_bits":4,'
            b'"granularity":"filter","rounding":"half to even","rows":[1,192],'
            b'"scheme":"affine","shape":[1,3,8,8]}}'
        )


def test_a_float_model_comes_back(tmp_path):
    model = build("yolov7-tiny", width=0.02, classes=2)
    assert same(load_model(saved(model, tmp_path)), model)


def test_a_quantized_model_comes_back(tmp_path):
    model = quantized()
    assert same(load_model(saved(model, tmp_path)), model)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: {**arrays, "bias": np.nextafter(arrays["bias"], np.float32(9))},
        lambda arrays: {**arrays, "bias": arrays["bias"].astype(np.float16)},
        lambda arrays: {**arrays, "bias": np.zeros_like(arrays["bias"])},
        lambda arrays: {**arrays, "weight": arrays["weight"][::-1]},
        lambda arrays: {"weight": arrays["weight"]},
    ],
)
def test_that_comparison_sees_a_difference(change):
    model = small_model()
    assert not same(with_node(model, STEM, arrays=change(model[STEM].arrays)), model)
    assert not same(replace(model, licence=""), model)


@pytest.mark.parametrize("scheme", [scheme.name for scheme in every_scheme()])
def test_every_scheme_comes_back(scheme, tmp_path):
    for bits in (2, 5, 8):
        model = quantized(scheme, "filter", bits)
        assert same(load_model(saved(model, tmp_path)), model)


@pytest.mark.parametrize("granularity", [*GRANULARITIES, "axes:F,R"])
def test_every_granularity_and_width_comes_back(granularity, tmp_path):
    for scheme, bits in product(("affine+bc", "pwlq"), range(2, 9)):
        model = quantized(scheme, granularity, bits)
        assert same(load_model(saved(model, tmp_path)), model)


@pytest.mark.parametrize("name", NASTY)
def test_nasty_weights_come_back(name, tmp_path):
    w = NASTY[name]
    weight = np.resize(w, (max(w.shape[0], 2), 3, 8, 8))
    for model in (small_model(weight), quantize_model(small_model(weight), uniform())):
        assert same(load_model(saved(model, tmp_path)), model)


def test_infinite_weights_and_every_nan_come_back(tmp_path):
    model = small_model()
    bias = np.array([0x7FC00000, 0x7F800001, 0xFFC12345, 0xFF800000], np.uint32).view(np.float32)
    model = with_node(model, STEM, arrays={**model[STEM].arrays, "bias": bias})
    assert same(load_model(saved(model, tmp_path)), model)


def test_a_bias_in_float16_comes_back(tmp_path):
    model = small_model()
    bias = model[STEM].arrays["bias"].astype(np.float16)
    model = with_node(model, STEM, arrays={**model[STEM].arrays, "bias": bias})
    assert same(load_model(saved(model, tmp_path)), model)


def test_big_endian_and_strided_arrays_are_stored_like_others(tmp_path):
    model = small_model()
    arrays = {
        "weight": np.asfortranarray(model[STEM].arrays["weight"]),
        "bias": model[STEM].arrays["bias"].astype(">f4"),
    }
    other = with_node(model, STEM, arrays=arrays)
    assert save_model(other, tmp_path / "a.h5") == save_model(model, tmp_path / "b.h5")


def test_the_order_of_the_graph_is_kept(tmp_path):
    path = saved(small_model(), tmp_path)
    with h5py.File(path) as file:
        assert list(file) == [JOINED, DECODE, HEAD, STEM]  # HDF5's order is that of the names
    assert [node.name for node in load_model(path).nodes] == [STEM, JOINED, HEAD, DECODE]


def test_an_unfolded_model_is_folded_on_loading_as_on_reading_a_checkpoint(tmp_path):
    raw = build("yolov7-tiny", width=0.02, classes=2, implicit=True, folded=False)
    path = saved(raw, tmp_path)
    folded = fold(raw)
    folded = folded.with_nodes(tuple(cast(node, np.float32) for node in folded.nodes))
    assert same(load_model(path, fold=False), raw)
    assert same(load_model(path), folded)


def test_numbers_that_folding_cannot_take_are_folded_without_a_warning(tmp_path):
    """A warning would print, and open, a line of ours. Pytest makes errors of warnings."""
    model = build("yolov7-tiny", folded=False)
    (norm, *_) = (node for node in model.nodes if node.op == "batch_norm")
    for key, number in (("variance", -1.0), ("weight", np.inf), ("mean", np.nan)):
        arrays = {**norm.arrays, key: np.full_like(norm.arrays[key], number)}
        path = saved(with_node(model, norm.name, arrays=arrays), tmp_path)
        folded = load_model(path)
        assert not np.isfinite(folded.nodes[0].arrays["bias"]).all(), key


def test_equal_models_make_equal_files(tmp_path):
    for model in (small_model(), quantized()):
        first = saved(model, tmp_path, "first.h5").read_bytes()
        again = saved(model, tmp_path, "again.h5").read_bytes()
        loaded = saved(load_model(tmp_path / "first.h5"), tmp_path, "loaded.h5").read_bytes()
        assert first == again == loaded


def test_the_content_hash_is_the_one_that_the_documentation_defines(tmp_path):
    content = save_model(quantized(), tmp_path / "model.h5")
    entries = []
    with h5py.File(tmp_path / "model.h5") as file:
        for name, group in file.items():
            text = bytes(group.attrs["node"])
            entries.append((f"{name}@node", "json", [len(text)], text))
            for key, array in ((key, dataset[...]) for key, dataset in group.items()):
                entries.append(
                    (f"{name}/{key}", array.dtype.str, list(array.shape), array.tobytes())
                )
        stored = json.loads(file.attrs["model"])["content_sha256"]
    total = b"".join(
        json.dumps([name, dtype, shape], separators=(",", ":")).encode() + b"\n" + content
        for name, dtype, shape, content in sorted(entries)
    )
    assert hashlib.sha256(total).hexdigest() == stored == content


def test_the_content_hash_does_not_depend_on_provenance(tmp_path):
    model = small_model()
    other = replace(model, source={}, licence="another", class_names=("car",))
    assert save_model(other, tmp_path / "a.h5") == save_model(model, tmp_path / "b.h5")


@pytest.mark.parametrize(
    "change",
    [
        {"attributes": {"stride": 8, "padding": 0, "activation": "leaky"}},
        {"arrays": {**small_model()[STEM].arrays, "bias": np.zeros(4, np.float32)}},
        {"arrays": {"weight": small_model()[STEM].arrays["weight"]}},
    ],
)
def test_the_content_hash_depends_on_content(change, tmp_path):
    model = small_model()
    other = with_node(model, STEM, **change)
    assert save_model(other, tmp_path / "a.h5") != save_model(model, tmp_path / "b.h5")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "a b", "é", "a" * 201, "a\n"])
def test_names_that_a_file_cannot_hold_are_refused(name, tmp_path):
    model = small_model()
    nodes = (*model.nodes[:1], replace(model.nodes[1], name=name), *model.nodes[2:])
    nodes = (*nodes[:2], replace(nodes[2], inputs=(name,)), nodes[3])
    with pytest.raises(BadInput, match="has no name for a file"):
        save_model(model.with_nodes(nodes), tmp_path / "model.h5")
    assert list(tmp_path.iterdir()) == []


def test_class_names_beyond_a_megabyte_are_refused(tmp_path):
    model = replace(small_model(), class_names=("x" * (1 << 20),))
    with pytest.raises(BadInput, match="longer than 1048576 bytes"):
        save_model(model, tmp_path / "model.h5")


def test_class_names_of_any_script_come_back(tmp_path):
    model = replace(small_model(), class_names=("\u4eba \U0001f6b2",), licence="x" * 70_000)
    assert same(load_model(saved(model, tmp_path)), model)


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\x9b", "\u202e", "\udc80"])
def test_texts_that_a_terminal_would_obey_are_not_written(text, tmp_path):
    for changes in ({"class_names": (text,)}, {"licence": text}, {"source": {"name": text}}):
        with pytest.raises(BadInput, match="cannot be shown"):
            save_model(replace(small_model(), **changes), tmp_path / "model.h5")


def test_names_of_nodes_beyond_a_megabyte_are_refused(tmp_path):
    names = [f"{i:04d}".rjust(200, "x") for i in range(5000)]
    chain = [Node(name, "silu", (x,)) for x, name in pairwise([JOINED, *names])]
    *first, head, decode = small_model().nodes
    nodes = (*first, *chain, replace(head, inputs=(names[-1],)), decode)
    with pytest.raises(BadInput, match="nodes' names are longer than 1048576 bytes in all"):
        save_model(small_model().with_nodes(nodes), tmp_path / "model.h5")


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_other_numbers_than_float32_and_float16_are_refused(dtype, tmp_path):
    model = small_model()
    arrays = {**model[STEM].arrays, "bias": np.zeros(4, dtype)}
    with pytest.raises(BadInput, match="cast it to float32 or float16"):
        save_model(with_node(model, STEM, arrays=arrays), tmp_path / "model.h5")


def test_only_weights_may_be_quantized(tmp_path):
    model = small_model()
    tensor = quantize(model[STEM].arrays["weight"])
    arrays = {"weight": tensor, "weight_magnitude": tensor}
    with pytest.raises(BadInput, match="weight_magnitude is quantized"):
        save_model(with_node(model, STEM, arrays=arrays), tmp_path / "model.h5")


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    path = saved(small_model(), tmp_path)
    before = path.read_bytes()

    def no_large_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; from small_model import *\n"
        "from refquant.arrays.errors import BadInput\n"
        "from refquant.formats.catalogue import save_model\n"
        "try: save_model(quantized(), sys.argv[1])\n"
        "except BadInput as error: sys.exit(str(error))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, path, *sys.path],
        preexec_fn=no_large_files,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.returncode == 1 and "cannot be written (File too large)" in run.stderr
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_every_operation_is_known_to_the_checks():
    assert set(OUTPUTS) == set(OPS)
    for op in OPS.values():
        kept = {name for name in ARRAYS.get(op.name, {}) if not name.endswith("_magnitude")}
        assert kept == set(op.arrays)
        assert set(op.attributes) <= set(ATTRIBUTES)


def test_every_parameter_of_a_scheme_has_a_type_and_a_name_for_a_file():
    own = {name for arrays in ARRAYS.values() for name in arrays} | {"codes"}
    for scheme in every_scheme():
        for field in scheme.fields:
            assert {np.dtype(name) for name in field.dtypes} <= set(DTYPES)
            assert field.name not in own
