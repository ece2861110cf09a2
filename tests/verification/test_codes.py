"""Codes of other tools: which differ, and what explains them."""

import json

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.cli.main import main
from refquant.formats.catalogue import save_model
from refquant.formats.npz_export import export_npz
from refquant.graph.architecture import build
from refquant.quant.recipe import quantize_model, uniform
from refquant.quant.tensor import quantize
from refquant.verification.codes import compare_codes, compare_layer

# scale 1 and zero point 1 for the range -1 ... 14: 0.5 and 2.5 are ties.
W = np.array([-1.0, 0.0, 0.5, 1.5, 2.5, 14.0], np.float32).reshape(1, 6, 1, 1)


def ours(w=W, **options):
    return quantize(w, bits=4, **options)


def theirs(codes, scale, zero_point=None):
    given = {"codes": np.asarray(codes), "scale": np.asarray(scale)}
    return given if zero_point is None else {**given, "zero_point": np.asarray(zero_point)}


def test_codes_of_a_worked_example():
    tensor = ours()
    assert tensor.codes.tolist() == [[0, 1, 1, 3, 3, 15]]
    row = compare_layer("a", W, tensor, theirs([[0, 1, 2, 3, 4, 15]], [1.0], [1]))
    assert row["differ"] == 2
    assert row["largest"] == 1
    assert row["explanation"] == "rounding half away from zero"
    assert row["scales"] == "equal"
    assert (row["ties"], row["verdict"]) == (2, "consistent")  # 0.5 and 2.5 are ties


def test_a_sum_with_an_odd_zero_point_rounds_ties_the_other_way():
    # round(w + 1), half to even: 1.5 is 2, 2.5 is 2, 3.5 is 4; ours is rint(w) + 1: 1, 3, 3.
    row = compare_layer("a", W, ours(), theirs([[0, 1, 2, 2, 4, 15]], [1.0], [1]))
    assert row["explanation"] == "rounding half to even of the sum with the zero point"
    assert (row["differ"], row["ties"], row["verdict"]) == (3, 3, "consistent")


def test_a_code_beside_a_tie_is_wrong():
    w = W.copy()
    w[0, 2] = np.nextafter(np.float32(0.5), np.float32(0))  # no tie any more
    row = compare_layer("a", w, ours(w), theirs([[0, 1, 2, 3, 4, 15]], [1.0], [1]))
    assert (row["differ"], row["ties"], row["verdict"]) == (2, 1, "wrong")
    row = compare_layer("a", W, ours(), theirs([[0, 1, 3, 3, 3, 15]], [1.0], [1]))
    assert (row["ties"], row["verdict"]) == (0, "wrong")  # two codes off at a tie


def test_a_scale_rounded_to_nearest_is_named_and_not_wrong():
    w, tensor, rows, scale, zero = random_case()
    below = np.nextafter(scale.astype(np.float32), np.float32(0)).astype(float)
    nearest = np.where(np.arange(8)[:, None] % 2, below, scale)
    w.reshape(8, -1)[1, 5] = np.float32(below[1, 0] * 2.5)  # rounds up by ours, is a tie by theirs
    rows = w.reshape(8, -1).astype(float)
    tensor = ours(w)
    found = theirs(clipped(np.rint(rows / nearest) + zero), nearest, zero)
    row = compare_layer("a", w, tensor, found)
    assert row["explanation"] == "scale rounded to nearest instead of up"
    assert row["verdict"] == "consistent"
    other = theirs(clipped(np.rint(rows / nearest) + zero), nearest, zero + 1)
    assert compare_layer("a", w, tensor, other)["verdict"] == "wrong"
    two_below = np.nextafter(below.astype(np.float32), np.float32(0)).astype(float)
    other = theirs(tensor.codes, two_below, zero)
    assert compare_layer("a", w, tensor, other)["verdict"] == "wrong"


def test_equal_codes_are_equal():
    tensor = ours()
    row = compare_layer("a", W, tensor, theirs(tensor.codes, tensor.params["scale"], [[1]]))
    assert row["explanation"] == "equal"


def random_case(granularity="filter"):
    w = np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype(np.float32)
    tensor = ours(w, granularity=granularity)
    scale, zero = (tensor.params[k].astype(float) for k in ("scale", "zero_point"))
    return w, tensor, w.reshape(8, -1).astype(float), scale, zero


def clipped(q):
    return np.clip(q, 0, 15)


def test_truncation_and_a_missing_lowest_code_are_named():
    w, tensor, rows, scale, zero = random_case()
    q = clipped(np.trunc(rows / scale) + zero)
    row = compare_layer("a", w, tensor, theirs(q, scale, zero))
    assert row["explanation"] == "rounding truncation"
    q = np.clip(np.rint(rows / scale) + zero, 1, 15)
    row = compare_layer("a", w, tensor, theirs(q, scale, zero))
    assert row["explanation"] == "rounding half to even, the lowest code left out"


def test_ties_up_are_not_called_ties_away_from_zero():
    # Scale 1, zero point 3. Up, -0.5 is 0, and its code 3; away from zero it is -1, its code 2.
    w = np.array([-3.0, -0.5, 0.0, 0.5, 2.5, 12.0], np.float32).reshape(1, 6, 1, 1)
    up = theirs([[0, 3, 3, 4, 6, 15]], [1.0], [3])
    assert compare_layer("a", w, ours(w), up)["explanation"] == "rounding half up"
    away = theirs([[0, 2, 3, 4, 6, 15]], [1.0], [3])
    assert compare_layer("a", w, ours(w), away)["explanation"] == "rounding half away from zero"


def test_the_storage_of_scales_is_named():
    w, tensor, rows, scale, zero = random_case()
    half = scale.astype(np.float16).astype(float)
    row = compare_layer("a", w, tensor, theirs(clipped(np.rint(rows / half) + zero), half, zero))
    assert row["scales"] == "ours, stored as float16"
    stored = "scale storage: ours, stored as float16"
    assert row["explanation"] in ("their scale and zero point", stored)
    row = compare_layer("a", w, tensor, theirs(tensor.codes, half, zero))
    assert row["explanation"] == stored


def test_equal_codes_for_other_scales_or_zero_points_are_not_equal():
    w, tensor, _, scale, zero = random_case()
    row = compare_layer("a", w, tensor, theirs(tensor.codes, 2 * scale, zero))
    assert row["explanation"] == "equal codes, other scales"
    row = compare_layer("a", w, tensor, theirs(tensor.codes, scale, zero + 1))
    assert row["explanation"] == "equal codes, other zero points"


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_scales_that_are_none_are_bad_input(value):
    w, tensor, _, scale, zero = random_case()
    with pytest.raises(BadInput, match="scale"):
        compare_layer("a", w, tensor, theirs(tensor.codes, np.full_like(scale, value), zero))


def test_codes_chosen_against_a_scale_before_it_was_stored_are_found():
    w, tensor, _, scale, zero = random_case()
    half = scale.astype(np.float16).astype(float)
    # A quotient that is 3 between the two scales tells which of them was used.
    w[3, 2, 1, 1] = np.float32(3 * (scale[3, 0] + half[3, 0]) / 2)
    before = clipped(np.trunc(w.reshape(8, -1) / scale) + zero)
    assert not np.array_equal(before, clipped(np.trunc(w.reshape(8, -1) / half) + zero))
    row = compare_layer("a", w, tensor, theirs(before, half, zero))
    assert row["explanation"].startswith("scale storage")


def test_another_granularity_is_named_by_its_number_of_scales():
    w, tensor, *_ = random_case()
    row = compare_layer("a", w, tensor, theirs(tensor.codes, [0.5]))
    assert row["explanation"] == "granularity: layer"
    assert (
        compare_layer("a", w, tensor, theirs(tensor.codes, [0.5] * 7))["explanation"] == "unknown"
    )


def test_codes_around_zero_are_ours_minus_the_middle():
    w = np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype(np.float32)
    tensor = ours(w, scheme="symmetric")
    signed = tensor.codes.astype(int) - 8
    row = compare_layer("a", w, tensor, theirs(signed, tensor.params["scale"]))
    assert row["explanation"] == "equal"


def test_one_wrong_code_is_unknown():
    w, tensor, _, scale, zero = random_case()
    codes = tensor.codes.astype(int)
    codes[3, 5] ^= 2
    row = compare_layer("a", w, tensor, theirs(codes, scale, zero))
    assert row["differ"] == 1
    assert row["explanation"] == "unknown"


def test_codes_of_another_shape_are_bad_input():
    w, tensor, _, scale, zero = random_case()
    with pytest.raises(BadInput, match="a: "):
        compare_layer("a", w, tensor, theirs(tensor.codes[:, :5], scale, zero))
    with pytest.raises(BadInput, match="whole"):
        compare_layer("a", w, tensor, theirs(tensor.codes + 0.5, scale, zero))


def test_the_verb_compares_an_export_with_its_model(capsys, tmp_path):
    model = build("yolov7-tiny", 1 / 8, classes=2)
    quantized = quantize_model(model, uniform("affine", "filter", 4))
    save_model(model, tmp_path / "m.h5")
    save_model(quantized, tmp_path / "q.h5")
    export_npz(quantized, tmp_path / "q.npz")
    command = ["verify", str(tmp_path / "q.h5"), str(tmp_path / "q.npz"), "--json"]
    assert main([*command, "--codes", str(tmp_path / "m.h5")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["verdict"], result["decided_by"]) == ("consistent", "definition")
    assert len(result["nodes"]) == sum(node.op == "conv" for node in model.nodes)
    with np.load(tmp_path / "q.npz") as arrays:
        changed = dict(arrays)
    changed["model.1.conv.codes"] = 15 - changed["model.1.conv.codes"]
    np.savez(tmp_path / "q.npz", **changed)
    assert main([*command, "--codes", str(tmp_path / "m.h5")]) == 1
    assert json.loads(capsys.readouterr().out)["first_wrong"] == "model.1.conv"


def test_layers_without_codes_leave_it_undecided(capsys, tmp_path):
    model = build("yolov7-tiny", 1 / 8, classes=2)
    quantized = quantize_model(model, uniform("affine", "filter", 4))
    save_model(model, tmp_path / "m.h5")
    save_model(quantized, tmp_path / "q.h5")
    export_npz(quantized, tmp_path / "q.npz")
    with np.load(tmp_path / "q.npz") as arrays:
        few = {key: arrays[key] for key in arrays if key.startswith("model.0.conv.")}
    np.savez(tmp_path / "few.npz", **few)
    command = ["verify", str(tmp_path / "q.h5"), str(tmp_path / "few.npz")]
    command += ["--codes", str(tmp_path / "m.h5")]
    assert main(command) == 1
    assert capsys.readouterr().out.endswith("layers not given\n\nundecided\n")
    assert main([*command, "--allow-undecided"]) == 0


@pytest.mark.parametrize(
    "other", [build("yolov7", 1 / 8, classes=2), build("yolov7-tiny", 1 / 8, classes=3)]
)
def test_another_model_s_weights_are_bad_input(other):
    quantized = quantize_model(build("yolov7-tiny", 1 / 8, classes=2), uniform())
    node = quantized["model.77.m.0"]
    given = {f"{node.name}.{k}": np.ones(1) for k in ("codes", "scale")}
    with pytest.raises(BadInput, match=f"^{node.name}: .*give the model that it was made of"):
        compare_codes(quantized, other, given)


def test_a_file_without_codes_is_bad_input():
    model = build("yolov7-tiny", 1 / 8, classes=2)
    quantized = quantize_model(model, uniform("affine", "filter", 4))
    with pytest.raises(BadInput, match="no layer"):
        compare_codes(quantized, model, {"x": np.zeros(3)})
