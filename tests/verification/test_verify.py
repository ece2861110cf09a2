"""Verdicts: right implementations pass, wrong ones do not, and nothing passes by accident."""

import json

import h5py
import numpy as np
import pytest
from small_model import JOINED, STEM, small_model

from refquant.arrays.errors import BadInput
from refquant.cli.main import main
from refquant.engine.walk import walk
from refquant.graph.architecture import build
from refquant.graph.graph import array_of
from refquant.verification.blame.trial import with_arrays
from refquant.verification.declared import Declared
from refquant.verification.deviation import deviation, ulp_histogram
from refquant.verification.golden.record import record_golden
from refquant.verification.mapping import Wanted, layouts_of, match_all, words
from refquant.verification.tensors.tensor import Tensor
from refquant.verification.variants import rounded, variant
from refquant.verification.verify import verify
from refquant.verification.worst import picture


@pytest.fixture(scope="module")
def model():
    return build("yolov7-tiny", 1 / 8, classes=2)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(3).random((1, 3, 64, 64), np.float32)


@pytest.fixture(scope="module")
def golden(model, x, tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "g.h5"
    record_golden(model, x, path)
    return path


@pytest.fixture(scope="module")
def right(model, x) -> dict[str, np.ndarray]:
    """Every output of a legitimate variant: another order of summation, another SiLU.

    It is the first of those that evidence compares with, so it is at most as far off as the
    farthest of them, k <= 1, however the BLAS and the exponentials of this processor round.
    """
    return {n.name: y for n, y in variant(model, x, Declared(), np.random.default_rng((0, 0)))}


def judged(golden, arrays, tmp_path, **options):
    np.savez(tmp_path / "other.npz", **arrays)
    return verify(golden, tmp_path / "other.npz", **options)


def row_of(report, name):
    return next(row for row in report.rows if row["node"] == name)


def test_deviation_of_a_worked_example():
    golden = np.array([3.0, 4.0, 0.0], np.float32)
    found = deviation(np.array([3.0, np.nextafter(np.float32(4), np.float32(5)), 0.0]), golden)
    assert found["max_abs"] == 2.0**-21
    assert found["ulps"]["0"] == 2
    assert found["ulps"]["1"] == 1
    assert found["sqnr_db"] == pytest.approx(10 * np.log10(25 / 2.0**-42))
    assert deviation(golden, golden)["cosine"] == pytest.approx(1)


def test_ulps_count_across_zero():
    tiny = np.float32(2.0**-149)
    assert ulp_histogram(
        np.array([tiny, 0.0], np.float32), np.array([-tiny, -0.0], np.float32)
    ) == {
        **dict.fromkeys(("1", "3-4", "5-8", "9-16", "17-64", "65-1024", "more"), 0),
        "0": 1,
        "2": 1,
    }


def test_a_right_implementation_is_consistent_node_by_node(golden, right, tmp_path):
    report = judged(golden, right, tmp_path)
    assert report.verdict == "consistent"
    assert all(row["verdict"] == "consistent" for row in report.rows[1:])
    assert all(0 <= row["excess"] <= 1 for row in report.rows[1:])


def test_the_first_wrong_node_is_named_and_later_ones_are_not(golden, model, x, right, tmp_path):
    arrays = dict(right)
    name = "model.5.conv"
    arrays[name] = right[name].copy()
    arrays[name][0, 3, 2, 1] += 0.01
    report = judged(golden, arrays, tmp_path)
    assert report.verdict == "wrong"
    assert report.first_wrong == name
    row = row_of(report, name)
    assert row["where"]["elements"] == 1
    assert row["worst"]["index"] == [0, 3, 2, 1]
    assert row["worst"]["sum"]["terms"] > 10
    wrong = [row["node"] for row in report.rows if row["verdict"] == "wrong"]
    readers = {node.name for node in model.nodes if name in node.inputs}
    assert set(wrong) <= {name} | readers  # a reader that took the true value is wrong as well


def test_the_worst_element_s_sum_adds_up(golden, right, tmp_path):
    arrays = dict(right)
    arrays["model.0.conv"] = right["model.0.conv"] + np.float32(0.5)
    worst = row_of(judged(golden, arrays, tmp_path), "model.0.conv")["worst"]
    parts = worst["sum"]
    assert parts["total"] == pytest.approx(parts["bias"] + parts["products"])
    products = [term["x"] * term["weight"] for term in parts["largest"]]
    assert len(products) == parts["terms"] == 27
    assert sum(products) == pytest.approx(parts["products"])
    leaky = parts["total"] if parts["total"] > 0 else 0.1 * parts["total"]
    assert worst["expected"] == pytest.approx(leaky)
    assert abs(worst["found"] - worst["expected"]) > worst["bound"]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1.0])
def test_constants_are_wrong(golden, right, tmp_path, value):
    arrays = {name: np.full_like(y, value) for name, y in right.items()}
    assert judged(golden, arrays, tmp_path, blame=False).verdict == "wrong"


def test_an_empty_file_is_bad_input(golden, tmp_path):
    with pytest.raises(BadInput, match="no tensor"):
        judged(golden, {}, tmp_path)
    with pytest.raises(BadInput, match="no tensor"):
        judged(golden, {"else": np.zeros((2, 2))}, tmp_path)


def test_missing_tensors_are_recomputed_and_a_fault_is_still_found(golden, right, tmp_path):
    kept = {
        k: y for i, (k, y) in enumerate(right.items()) if i % 3 == 0 or k.startswith("model.7")
    }
    kept = {**kept, **{name: right[name] for name in list(right)[-4:]}}
    report = judged(golden, kept, tmp_path)
    assert report.verdict == "consistent"
    assert {row["basis"] for row in report.rows} >= {"missing", "evidence"}
    name = list(kept)[3]
    kept[name] = kept[name] * np.float32(1.01)
    assert judged(golden, kept, tmp_path, variants=0, blame=False).verdict == "wrong"


def test_a_final_output_alone_is_weighed_by_evidence(golden, right, tmp_path):
    last = list(right)[-1]
    report = judged(golden, {last: right[last]}, tmp_path)
    row = row_of(report, last)
    assert row["basis"] == "evidence"
    assert report.verdict == "consistent"
    assert row["evidence"]["k"] <= 1
    far = right[last] * np.float32(1 + 2.0**-12)
    assert judged(golden, {last: far}, tmp_path).verdict in ("implausible", "wrong")


def test_a_right_implementation_that_is_no_variant_is_not_accused(golden, model, x, tmp_path):
    """Whether its k is above 1 the rounding of this processor decides; 8 is far from all of it."""
    other = {n.name: y for n, y in variant(model, x, Declared(), np.random.default_rng(5))}
    last = list(other)[-1]
    report = judged(golden, {last: other[last]}, tmp_path)
    assert 0 < row_of(report, last)["evidence"]["k"] < 4
    assert report.verdict in ("consistent", "undecided")


def test_nodes_that_nothing_covers_leave_it_undecided(golden, right, tmp_path):
    name = "model.0.conv"
    report = judged(golden, {name: right[name]}, tmp_path, variants=0)
    assert row_of(report, name)["verdict"] == "consistent"
    assert report.verdict == "undecided"
    assert judged(golden, {name: right[name]}, tmp_path, only=[name]).verdict == "consistent"


def test_a_part_is_judged_by_the_tensors_before_it(golden, right, tmp_path):
    first, last = [name for name in right if "decode" not in name][-2:]
    early = {**right, "model.0.conv": right["model.0.conv"] * 1.5}
    report = judged(golden, early, tmp_path, only=[first, last])
    assert [row["basis"] for row in report.rows] == ["local", "local"]
    assert report.verdict == "consistent"
    wrong = {**right, first: right[first] * np.float32(1.01)}
    assert judged(golden, wrong, tmp_path, only=[first]).first_wrong == first


def test_a_part_takes_a_mapping_of_the_whole(golden, right, tmp_path):
    theirs = {f"t{i}": y for i, y in enumerate(right.values())}
    mapping = dict(zip(right, theirs, strict=True))
    report = judged(golden, theirs, tmp_path, mapping=mapping, only=["model.0.conv"])
    assert [row["mapped_by"] for row in report.rows] == ["mapping"]
    assert report.verdict == "consistent"


def test_a_part_without_names_is_taken_in_its_own_order(golden, right, tmp_path):
    report = judged(golden, {"t": right["model.0.conv"]}, tmp_path, only=["model.0.conv"])
    assert [row["mapped_by"] for row in report.rows] == ["order"]
    unnamed = {f"t{i}": y for i, y in enumerate(right.values())}
    report = judged(golden, unnamed, tmp_path)
    assert {row["mapped_by"] for row in report.rows[1:]} == {"order"}
    assert report.verdict == "consistent"


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_a_file_narrower_than_what_was_computed_is_said(golden, right, x, tmp_path, kind):
    narrow = {name: rounded(y, kind) for name, y in {**right, "images": x}.items()}
    report = judged(golden, narrow, tmp_path)
    assert report.verdict == "wrong"
    for name in ("images", "model.0.conv"):
        assert f"rounded to {kind} when written" in row_of(report, name)["note"]
        assert row_of(report, name)["cause"] is None
    half = {**right, "model.0.conv": rounded(right["model.0.conv"] * 1.01, kind)}
    assert "rounded" not in row_of(judged(golden, half, tmp_path), "model.0.conv")["note"]


def test_predictions_without_a_name_are_known_by_their_shape(golden, right, tmp_path):
    last = next(name for name in right if "decode" in name)
    report = judged(golden, {"output": right[last]}, tmp_path)
    assert row_of(report, last)["mapped_by"] == "shape"
    assert report.verdict == "consistent"
    two = {"output": right[last], "again": right[last]}
    with pytest.raises(BadInput, match="no tensor is a node"):
        judged(golden, two, tmp_path)


def test_numbers_that_are_not_finite_are_counted(golden, right, tmp_path):
    strange = right["model.0.conv"].copy()
    strange[0, 0, 0, :2] = np.nan
    row = row_of(judged(golden, {**right, "model.0.conv": strange}, tmp_path), "model.0.conv")
    assert row["verdict"] == "wrong"
    assert row["note"] == "2 elements are not finite"


def test_zeros_have_no_cause_but_a_question(golden, right, tmp_path):
    zeros = {**right, "model.0.conv": 0 * right["model.0.conv"]}
    row = row_of(judged(golden, zeros, tmp_path), "model.0.conv")
    assert row["cause"] is None
    assert row["note"] == "all zeros: was it written?"


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_narrow_storage_is_consistent_where_declared_and_wrong_where_not(
    golden, model, x, tmp_path, storage
):
    declared = Declared(storage=storage)
    made = variant(model, x, declared, np.random.default_rng(1))
    arrays = {node.name: y for node, y in made}
    arrays["images"] = rounded(x, storage)
    found = judged(golden, arrays, tmp_path, declared=declared)
    assert "wrong" not in {row["verdict"] for row in found.rows}
    assert judged(golden, arrays, tmp_path, blame=False).verdict == "wrong"


def test_variants_that_overflow_are_no_evidence(tmp_path):
    """SiLU of 6e4 fits float16, three of it do not."""
    weight = np.zeros((4, 3, 8, 8), np.float32)
    weight[:, :, 0, 0] = 3e4
    model, x = small_model(weight), np.full((1, 3, 8, 8), 0.9, np.float32)
    record_golden(model, x, tmp_path / "g.h5")
    outputs = {node.name: y for node, y in walk(model, x)}
    outputs = {name: np.minimum(y, 65504) for name, y in outputs.items()}
    report = judged(tmp_path / "g.h5", outputs, tmp_path, declared=Declared(storage="float16"))
    row = row_of(report, STEM)
    assert row["verdict"] == "undecided"
    assert row["evidence"]["largest"] is None
    assert row["evidence"]["k"] is None
    assert "overflows" in row["note"]
    json.dumps(report.as_json(), allow_nan=False)


def test_nhwc_is_detected(golden, right, tmp_path):
    arrays = {k: y.transpose(0, 2, 3, 1) if y.ndim == 4 else y for k, y in right.items()}
    report = judged(golden, arrays, tmp_path)
    assert report.verdict == "consistent"
    assert row_of(report, "model.0.conv")["layout"] == "NHWC"


def test_every_container_gives_the_same_verdict(golden, right, tmp_path):
    (tmp_path / "dump").mkdir()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        for name, y in right.items():
            np.save(tmp_path / "dump" / f"{name}.npy", y)
            file.create_dataset(f"outputs/{name}", data=y, compression="gzip")
    assert verify(golden, tmp_path / "dump").verdict == "consistent"
    report = verify(golden, tmp_path / "other.h5")
    assert report.verdict == "consistent"


def test_a_golden_is_consistent_with_itself(golden):
    report = verify(golden, golden)
    assert report.verdict == "consistent"
    assert max(row.get("max_abs") or 0 for row in report.rows) == 0


def test_a_golden_of_digests_judges_as_well(golden, model, x, right, tmp_path):
    record_golden(model, x, tmp_path / "d.h5", keep=(), with_model=False)
    with pytest.raises(BadInput, match="--model"):
        judged(tmp_path / "d.h5", right, tmp_path)
    assert judged(tmp_path / "d.h5", right, tmp_path, model=model).verdict == "consistent"
    other = build("yolov7-tiny", 1 / 8, classes=2, seed=1)
    with pytest.raises(BadInput, match="content"):
        judged(tmp_path / "d.h5", right, tmp_path, model=other)


def test_wrong_shapes_and_types_are_rows(golden, right, tmp_path):
    arrays = {**right, "model.0.conv": right["model.0.conv"][:, :, 1:]}
    report = judged(golden, arrays, tmp_path, variants=0)
    assert report.first_wrong == "model.0.conv"
    assert "shape" in row_of(report, "model.0.conv")["note"]
    arrays = {**right, "model.1.conv": right["model.1.conv"].astype(np.int8)}
    report = judged(golden, arrays, tmp_path, variants=0)
    assert "int8" in row_of(report, "model.1.conv")["note"]


def test_two_nodes_exchanged_by_the_mapping_are_wrong(golden, right, tmp_path):
    shapes: dict = {}
    for name, y in right.items():
        shapes.setdefault(y.shape, []).append(name)
    a, b = next(names for names in shapes.values() if len(names) > 1)[:2]
    report = judged(golden, right, tmp_path, mapping={a: b, b: a})
    assert report.verdict == "wrong"
    with pytest.raises(BadInput, match="two nodes"):
        judged(golden, right, tmp_path, mapping={a: b, b: b})
    with pytest.raises(BadInput, match="no node"):
        judged(golden, right, tmp_path, mapping={"nothing": b})


def test_what_is_right_under_another_declaration_says_so(tmp_path):
    # Filter 1 has no bias: of an input of 2**-140 it gives a subnormal number.
    small = small_model(np.ones((3, 3, 8, 8), np.float32))
    x = np.full((1, 3, 8, 8), 2.0**-140, np.float32)
    record_golden(small, x, tmp_path / "g.h5")
    arrays = {node.name: y for node, y in walk(small, x)}
    assert 0 < arrays[STEM][0, 1, 0, 0] < 2.0**-126
    arrays[STEM] = np.where(abs(arrays[STEM]) < 2.0**-126, np.float32(0), arrays[STEM])
    arrays[JOINED] = np.concatenate([arrays[STEM]] * 2, axis=1)
    row = row_of(judged(tmp_path / "g.h5", arrays, tmp_path), STEM)
    assert (row["verdict"], row["note"]) == ("wrong", "consistent where declared: --flush")
    declared = Declared(flush=True)
    report = judged(tmp_path / "g.h5", arrays, tmp_path, declared=declared)
    assert {row["verdict"] for row in report.rows[1:]} == {"consistent"}
    arrays[STEM] = arrays[STEM] + np.float32(0.5)
    assert row_of(judged(tmp_path / "g.h5", arrays, tmp_path), STEM)["note"] == ""


def test_flushed_inputs_are_the_golden_s_where_that_is_declared(tmp_path):
    declared = Declared(flush=True)
    for first, verdict in ((1.0, "consistent"), (2.0**-140, "undecided")):
        x = np.full((1, 3, 8, 8), 2.0**-140, np.float32)
        x[0, 0, 0, 0] = first
        record_golden(small_model(), x, tmp_path / "g.h5")
        flushed = np.where(x < 2.0**-126, np.float32(0), x)
        arrays = {node.name: y for node, y in walk(small_model(), flushed)}
        arrays["images"] = flushed
        assert judged(tmp_path / "g.h5", arrays, tmp_path).first_wrong == "images"
        # Where the whole input may be flushed, nothing was compared.
        report = judged(tmp_path / "g.h5", arrays, tmp_path, declared=declared)
        assert report.verdict == verdict


def test_another_input_is_wrong_at_the_input(golden, model, tmp_path):
    other = np.random.default_rng(9).random((1, 3, 64, 64), np.float32)
    arrays = {"images": other, **{node.name: y for node, y in walk(model, other)}}
    report = judged(golden, arrays, tmp_path)
    assert report.first_wrong == "images"
    assert {row["verdict"] for row in report.rows[1:]} == {"consistent"}


@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
def test_a_cut_npz_is_bad_input(golden, right, tmp_path, share):
    np.savez(tmp_path / "whole.npz", **right)
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInput, match=r"cut\.npz"):
        verify(golden, tmp_path / "cut.npz")


def test_a_pickle_in_an_npz_is_not_loaded(golden, tmp_path):
    np.savez(tmp_path / "other.npz", **{"model.0.conv": np.array([{}], object)})
    with pytest.raises(BadInput, match="Python objects"):
        verify(golden, tmp_path / "other.npz")


def test_a_shape_larger_than_the_file_is_refused(golden, tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000,), }"
    header = header.ljust(117) + b"\n"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    (tmp_path / "a.npy").write_bytes(start + header + bytes(64))
    with pytest.raises(BadInput, match="not there"):
        verify(golden, tmp_path / "a.npy")


def test_layouts_of_worked_examples():
    assert layouts_of((1, 2, 3, 4), (1, 2, 3, 4)) == ["NCHW"]
    assert layouts_of((1, 2, 3, 4), (3, 4, 2)) == ["NHWC"]
    assert layouts_of((1, 21, 3, 4), (1, 3, 3, 4, 7)) == ["NAHWE"]
    assert layouts_of((1, 4, 4, 4), (4, 4, 4)) == ["NCHW", "NHWC"]
    assert layouts_of((1, 9, 7), (1, 7, 9)) == ["NER"]
    assert layouts_of((1, 2, 3, 4), (1, 2, 4, 3)) == []


def test_names_of_an_exporter_are_found():
    assert words("/model.105/m.0/Conv_output_0") == words("model.105.m.0")
    shape = (1, 4, 8, 8)
    nodes = [
        Wanted("model.0.conv", "conv", True, shape),
        Wanted("model.1.conv", "conv", True, shape),
        Wanted("model.2", "concat", False, (1, 8, 8, 8)),
    ]
    names = [
        "/model.0/conv/Conv",
        "/model.0/act/Sigmoid",
        "/model.0/act/Mul",
        "/model.1/conv/Conv",
    ]
    names += ["/model.1/act/Sigmoid", "/model.1/act/Mul"]
    tensors = [Tensor(f"{n}_output_0", shape, "float32", lambda: None) for n in names]
    tensors.append(Tensor("/model.2/Concat_output_0", (1, 8, 8, 8), "float32", lambda: None))
    found = match_all(nodes, tensors)
    assert {name: match.tensor.name for name, match in found.items()} == {
        "model.0.conv": "/model.0/act/Mul_output_0",
        "model.1.conv": "/model.1/act/Mul_output_0",
        "model.2": "/model.2/Concat_output_0",
    }


@pytest.mark.parametrize("suffix", ["", ".act"])
def test_hooks_on_every_module_are_understood(golden, model, right, tmp_path, suffix):
    arrays = dict(right)
    for node in model.nodes:
        if node.attributes.get("activation", "linear") != "linear":
            arrays[node.name.rpartition(".")[0] + suffix] = right[node.name]
            arrays[node.name] = right[node.name] - np.float32(1)  # before batch norm, say
    report = judged(golden, arrays, tmp_path)
    assert report.verdict == "consistent"
    assert row_of(report, "model.0.conv")["mapped_by"] == "module"
    assert "model.0.conv" in report.unused
    wrong = {**arrays, f"model.3{suffix}": arrays[f"model.3{suffix}"] + np.float32(1)}
    assert judged(golden, wrong, tmp_path, blame=False).first_wrong == "model.3.conv"


@pytest.mark.parametrize("name", ["model.4.conv", "model.19.conv", "model.55.conv"])
def test_under_any_algorithm_the_faulty_node_is_accused_and_no_later_one(
    golden, model, x, tmp_path, name
):
    weight = np.ascontiguousarray(array_of(model[name].arrays["weight"]).swapaxes(2, 3))
    faulty = model.with_nodes(
        tuple(with_arrays(n, weight=weight) if n.name == name else n for n in model.nodes)
    )
    arrays = {node.name: y for node, y in walk(faulty, x)}
    report = judged(golden, arrays, tmp_path, declared=Declared(algorithm="any"))
    accused = [row["node"] for row in report.rows if row["verdict"] != "consistent"]
    assert [n for n in accused if n != "images"] == [name]
    assert row_of(report, name)["verdict"] in ("wrong", "implausible")


def test_the_picture_shows_a_stripe():
    wrong = np.zeros((1, 2, 4, 6), bool)
    wrong[:, :, 1] = True
    assert picture(wrong) == ["      ", "@@@@@@", "      ", "      "]


def test_the_verb_s_exit_codes_and_json(capsys, golden, right, tmp_path):
    np.savez(tmp_path / "right.npz", **right)
    assert main(["verify", str(golden), str(tmp_path / "right.npz"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {
        "verdict", "decided_by", "hypotheses", "first_wrong", "cause", "nodes", "unused_tensors",
    }  # fmt: skip
    assert sorted(result["hypotheses"]) == ["H1", "H2", "H3", "H4", "H5", "H6"]
    wrong = {**right, "model.1.conv": -right["model.1.conv"]}
    np.savez(tmp_path / "wrong.npz", **wrong)
    assert main(["verify", str(golden), str(tmp_path / "wrong.npz")]) == 1
    text = capsys.readouterr().out
    assert "wrong: model.1.conv" in text
    assert "H6" in text
    np.savez(tmp_path / "part.npz", **{"model.0.conv": right["model.0.conv"]})
    command = ["verify", str(golden), str(tmp_path / "part.npz"), "--variants", "0"]
    assert main(command) == 1
    assert main([*command, "--allow-undecided"]) == 0
    assert main(["verify", str(golden), str(tmp_path / "missing.npz")]) == 3
