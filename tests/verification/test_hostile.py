"""What strangers give as the other side: nothing passes by accident, no traceback ends it."""

import json
import re
import warnings
import zipfile

import h5py
import numpy as np
import pytest
from small_model import DECODE, JOINED, STEM, saved, small_model

from refquant.arrays.errors import BadInput
from refquant.cli.main import main
from refquant.engine.walk import walk
from refquant.verification.declared import Declared
from refquant.verification.golden.file import open_golden
from refquant.verification.golden.record import record_golden
from refquant.verification.mapping import LARGEST_MAPPING, read_mapping
from refquant.verification.verify import verify


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(3).random((1, 3, 16, 24), np.float32)


@pytest.fixture(scope="module")
def golden(x, tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "g.h5"
    record_golden(small_model(), x, path)
    return path


@pytest.fixture(scope="module")
def right(x) -> dict[str, np.ndarray]:
    return {node.name: y for node, y in walk(small_model(), x)}


def judged(golden, tmp_path, arrays, **options):
    np.savez(tmp_path / "other.npz", **arrays)
    return verify(golden, tmp_path / "other.npz", blame=False, **options)


def written(path, arrays):
    """The arrays as the kind of file that the suffix says; a folder without one."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, y in arrays.items():
                file.create_dataset(name, data=y)
    elif path.suffix == ".npy":
        np.save(path, next(iter(arrays.values())))
    else:
        path.mkdir()
        for name, y in arrays.items():
            np.save(path / f"{name}.npy", y)
    return path


def test_what_is_right_passes_so_that_the_rest_means_something(golden, right, tmp_path):
    for name in ("other.npz", "other.h5", "folder"):
        report = verify(golden, written(tmp_path / name, right))
        assert report.verdict == "consistent"
        assert {row["verdict"] for row in report.rows[1:]} == {"consistent"}


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 1e30, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["every node", "with the input", "the last", "the first"])
def test_constants_fail(golden, right, x, tmp_path, value, which):
    chosen = {
        "every node": list(right),
        "with the input": ["images", *right],
        "the last": list(right)[-1:],
        "the first": list(right)[:1],
    }[which]
    arrays = {**right, "images": x}
    constant = {name: np.full_like(arrays[name], value) for name in chosen}
    assert judged(golden, tmp_path, constant).verdict in ("wrong", "implausible")
    mixed = {**right, **constant}
    assert judged(golden, tmp_path, mixed).verdict in ("wrong", "implausible")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_single_number_is_found_wherever_it_stands(golden, right, tmp_path, value):
    for name, y in right.items():
        for place in (0, y.size // 2, -1):
            changed = y.copy()
            changed.reshape(-1)[place] = value
            report = judged(golden, tmp_path, {**right, name: changed})
            assert report.first_wrong == name, (name, place)


@pytest.mark.parametrize("kind", ["other.npz", "other.h5", "other.npy", "folder"])
def test_what_holds_no_tensor_is_bad_input(golden, tmp_path, kind):
    path = written(tmp_path / kind, {"else": np.zeros((2, 2), np.float32)})
    with pytest.raises(BadInput, match="no tensor"):
        verify(golden, path)
    for path in (tmp_path / "empty.npz", tmp_path / "empty.h5", tmp_path / "nothing"):
        written(path, {})
        with pytest.raises(BadInput, match="no tensor"):
            verify(golden, path)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".npy", ".onnx", ".txt", ""])
def test_an_empty_file_is_bad_input(golden, tmp_path, suffix):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(b"")
    with pytest.raises(BadInput, match=f"other{suffix}"):
        verify(golden, path)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["other.npz", "other.h5", "folder"])
def test_what_is_cut_off_never_passes(golden, right, tmp_path, kind, share):
    path = written(tmp_path / kind, right)
    cut = path / f"{STEM}.npy" if path.is_dir() else path
    content = cut.read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInput, match=r"other\.|folder"):
        verify(golden, path)


def test_a_cut_onnx_file_is_bad_input(golden, x, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from refquant.formats.onnx.export import export_onnx

    export_onnx(small_model(), tmp_path / "m.onnx", shape=x.shape)
    content = (tmp_path / "m.onnx").read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / "cut.onnx").write_bytes(content[: int(share * len(content))])
        with pytest.raises(BadInput, match=r"cut\.onnx"):
            verify(golden, tmp_path / "cut.onnx")


@pytest.mark.parametrize(
    "place", ["an initializer", "an attribute", "a branch", "a sparse initializer", "a function"]
)
def test_an_onnx_file_with_data_elsewhere_is_bad_input(golden, tmp_path, place):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make = onnx.helper
    lie = onnx.TensorProto(name="k", data_type=1, dims=[4], data_location=1)
    lie.external_data.add(key="location", value="../secret.bin")
    constant = make.make_node("Constant", [], ["k"], value=lie)
    branch = make.make_graph([constant], "branch", [], [])
    choice = make.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    parts = {"an initializer": ([], [lie]), "an attribute": ([constant], [])}
    nodes, constants = parts.get(place, ([choice] if place == "a branch" else [], []))
    model = make.make_model(make.make_graph(nodes, "g", [], [], constants))
    if place == "a sparse initializer":
        model.graph.sparse_initializer.add(dims=[4]).values.CopyFrom(lie)
    elif place == "a function":
        model.functions.add(name="f", domain="d").node.append(constant)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match=r"m\.onnx: has its weights in another file"):
        verify(golden, tmp_path / "m.onnx")


def with_record(path, golden, name, **changes):
    """The golden with another record of a node, and the content hash that fits it."""
    path.write_bytes(golden.read_bytes())
    with h5py.File(path, "r+") as file:
        record = json.loads(file[name].attrs["node"]) | changes
        file[name].attrs.create("node", np.bytes_(json.dumps(record)))
    with pytest.raises(BadInput, match="content_sha256 is") as refused, open_golden(path):
        pass
    actual = re.search("content_sha256 is ([0-9a-f]{64})", str(refused.value))[1]
    with h5py.File(path, "r+") as file:
        root = json.loads(file.attrs["golden"]) | {"content_sha256": actual}
        file.attrs.create("golden", np.bytes_(json.dumps(root)))
    return path


@pytest.mark.parametrize("name", [STEM, JOINED, DECODE])
@pytest.mark.parametrize("shape", [[1, 1, 1, 1], [1, 2], [], [-1, 4, 2, 3]])
def test_a_golden_with_other_shapes_than_its_model_s_is_bad_input(
    golden, right, tmp_path, name, shape
):
    path = with_record(tmp_path / "g.h5", golden, name, shape=shape)
    with pytest.raises(BadInput, match=rf"g\.h5: {name} has shape .*, its model gives"):
        verify(path, written(tmp_path / "other.npz", right))
    assert verify(golden, tmp_path / "other.npz").verdict == "consistent"


def test_a_golden_with_another_model_in_it_is_bad_input(golden, right, tmp_path):
    other = small_model(np.ones((4, 3, 8, 8), np.float32))
    content = saved(other, tmp_path).read_bytes()
    path = tmp_path / "g.h5"
    path.write_bytes(golden.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["images/model"]
        file["images"].create_dataset("model", data=np.frombuffer(content, np.uint8))
    written(tmp_path / "other.npz", right)
    for options in ({}, {"model": other}):
        with pytest.raises(BadInput, match=r"g\.h5: is of a model with content .*, this one has"):
            verify(path, tmp_path / "other.npz", **options)
    assert verify(path, tmp_path / "other.npz", model=small_model()).verdict == "consistent"


def test_a_golden_without_its_input_is_bad_input(golden, right, tmp_path):
    path = tmp_path / "g.h5"
    path.write_bytes(golden.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["images/output"]
    with pytest.raises(BadInput, match=r"g\.h5: images"):
        verify(path, written(tmp_path / "other.npz", right))


def test_a_declaration_that_is_none_is_refused_before_anything_is_read(golden, tmp_path):
    with pytest.raises(BadInput, match="algorithm='fft'"):
        verify(golden, tmp_path / "absent.npz", declared=Declared(algorithm="fft"))


def test_a_member_whose_bytes_were_changed_is_not_judged(golden, right, tmp_path):
    path = written(tmp_path / "other.npz", right)
    content = bytearray(path.read_bytes())
    content[content.index(right[STEM].tobytes()[:64]) + 8] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match=f"damaged.*{STEM}"):
        verify(golden, path)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "complex64", "S4"])
def test_what_is_no_float_is_a_row_that_says_so(golden, right, tmp_path, dtype):
    report = judged(golden, tmp_path, {**right, STEM: right[STEM].astype(dtype)})
    assert report.first_wrong == STEM
    row = next(row for row in report.rows if row["node"] == STEM)
    assert row["basis"] == "unreadable"
    assert "give float16 or float32" in row["note"]


def test_float64_is_taken_and_float16_is_judged_as_what_it_is(golden, right, tmp_path):
    wide = {name: y.astype(np.float64) for name, y in right.items()}
    assert judged(golden, tmp_path, wide).verdict == "consistent"
    narrow = {name: y.astype(np.float16) for name, y in right.items()}
    assert judged(golden, tmp_path, narrow).verdict == "wrong"


def test_float64_whose_squares_overflow_is_wrong_and_can_be_written_as_json(
    golden, right, tmp_path
):
    huge = {name: np.full_like(y, -1.7e308, np.float64) for name, y in right.items()}
    report = verify(golden, written(tmp_path / "other.npz", huge))
    assert report.first_wrong == STEM
    assert {row.get("sqnr_db") for row in report.rows} == {None}
    json.dumps(report.as_json(), allow_nan=False)


def test_wrong_shapes_never_pass(golden, right, tmp_path):
    y = right[STEM]
    shapes = [y[:, :-1], y[:, :, 1:], y[0, 0], y.reshape(-1), y[None], y[:0], np.float32(1)]
    for wrong in (*shapes, y.swapaxes(2, 3), np.concatenate([y, y])):
        report = judged(golden, tmp_path, {**right, STEM: wrong})
        assert report.first_wrong == STEM, np.shape(wrong)
    assert judged(golden, tmp_path, {**right, STEM: y[0]}).verdict == "consistent"


def test_missing_nodes_leave_it_undecided_where_nothing_covers_them(golden, right, tmp_path):
    first = {name: y for name, y in right.items() if name != DECODE}
    report = judged(golden, tmp_path, first, variants=0)
    assert report.verdict == "undecided"
    assert "no later node" in next(row["note"] for row in report.rows if row["node"] == DECODE)


def test_one_name_twice_in_a_zip_is_no_way_to_pass(golden, right, tmp_path):
    zeros = {name: 0 * y for name, y in right.items()}
    for number, pair in enumerate(((right, zeros), (zeros, right))):
        with zipfile.ZipFile(tmp_path / "both.npz", "w") as both, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # zipfile's, about the second name
            for arrays in pair:
                with zipfile.ZipFile(written(tmp_path / f"{number}.npz", arrays)) as one:
                    for entry in one.namelist():
                        both.writestr(entry, one.read(entry))
        with pytest.raises(BadInput, match="2 times"):
            verify(golden, tmp_path / "both.npz")


def test_hdf5_leads_nowhere_else(golden, right, tmp_path):
    written(tmp_path / "elsewhere.h5", right)
    with h5py.File(tmp_path / "links.h5", "w") as file:
        for name in right:
            file[name] = h5py.ExternalLink("elsewhere.h5", name)
    with pytest.raises(BadInput, match="no tensor"):
        verify(golden, tmp_path / "links.h5")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout(right[STEM].shape, np.float32)
        layout[:] = h5py.VirtualSource(tmp_path / "elsewhere.h5", STEM, right[STEM].shape)
        file.create_virtual_dataset(STEM, layout)
    with pytest.raises(BadInput, match="another file"):
        verify(golden, tmp_path / "virtual.h5")
    with h5py.File(tmp_path / "unwritten.h5", "w") as file:
        file.create_dataset(STEM, right[STEM].shape, np.float32)
    with pytest.raises(BadInput, match="never written"):
        verify(golden, tmp_path / "unwritten.h5")


def test_a_group_that_contains_itself_is_entered_once(golden, right, tmp_path):
    written(tmp_path / "other.h5", right)
    with h5py.File(tmp_path / "other.h5", "r+") as file:
        for number in range(12):  # 12**8 ways down
            file[f"again{number}"] = file["/"]
    assert verify(golden, tmp_path / "other.h5").verdict == "consistent"


def test_a_mapping_that_is_too_large_is_not_called_broken(tmp_path):
    text = json.dumps({STEM: "a" * LARGEST_MAPPING})
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(BadInput, match=f"has more than {LARGEST_MAPPING} bytes"):
        read_mapping(tmp_path / "names.json")
    (tmp_path / "names.json").write_text('{"a": "b"}'.ljust(LARGEST_MAPPING))
    assert read_mapping(tmp_path / "names.json") == {"a": "b"}


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"a": 1}', "{" * 5000, "\x00"])
def test_a_mapping_that_is_none_is_bad_input(golden, right, tmp_path, capsys, text):
    written(tmp_path / "other.npz", right)
    (tmp_path / "names.json").write_text(text)
    command = ["verify", str(golden), str(tmp_path / "other.npz"), "--map"]
    assert main([*command, str(tmp_path / "names.json")]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "names.json").write_text(json.dumps({STEM: "nobody"}))
    assert main([*command, str(tmp_path / "names.json")]) == 3
    assert "nobody" in capsys.readouterr().err
