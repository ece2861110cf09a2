"""The audit: every number against one computed by hand, down to one group and one weight."""

import csv
import json
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.auditing.audit import audit, audit_layer, total_of
from refquant.auditing.detail import audit_group, audit_groups, audit_weight, group_name
from refquant.auditing.grid import grid, weights_of
from refquant.cli import audit as verb
from refquant.cli.main import main
from refquant.formats.catalogue import load_model, save_model
from refquant.graph.architecture import build
from refquant.quant.recipe import parse, quantize_model, uniform
from refquant.quant.schemes import every_scheme
from refquant.quant.tensor import QuantizedTensor, quantize

W = np.random.default_rng(0).standard_normal((4, 6, 3, 3)).astype(np.float32)


def test_a_worked_example():
    w = np.array([-1.0, 0.0, 0.4, 14.0], np.float32).reshape(1, 4, 1, 1)  # scale 1: -1 0 0 14
    row = audit_layer("a", quantize(w, bits=4), w)
    assert row.max_error == pytest.approx(0.4)
    assert row.mse == pytest.approx(0.04)
    assert row.sqnr_db == pytest.approx(10 * math.log10(197.16 / 0.16), rel=1e-6)
    assert row.bound == pytest.approx(0.5, rel=1e-5)
    assert row.clipped == 0
    assert (row.used_codes, row.entropy_bits) == (3, 1.5)
    assert (row.packed, row.nominal, row.fp16) == (2 + 5, 2 + 8, 8)


@pytest.mark.parametrize("scheme", ["affine", "pwlq", "lloyd-max", "symmetric+bc"])
@pytest.mark.parametrize("granularity", ["filter", "f-shape", "block-32"])
def test_errors_are_those_of_the_decoded_weight(scheme, granularity):
    tensor = quantize(W, scheme=scheme, granularity=granularity, bits=3)
    row = audit_layer("a", tensor, W)
    error = tensor.dequantize().astype(np.float64) - W
    assert row.max_error == abs(error).max()
    assert row.mse == pytest.approx((error**2).mean(), rel=1e-12)
    assert row.max_error <= row.bound


def test_copies_that_fill_up_a_block_are_no_errors():
    w = np.random.default_rng(5).standard_normal((4, 70, 1, 1)).astype(np.float32)
    tensor = quantize(w, granularity="block-32", bits=2)  # 3 rows of 24 for 70: 2 copies
    error = tensor.dequantize().astype(np.float64) - w
    row = audit_layer("a", tensor, w)
    assert row.mse == pytest.approx((error**2).mean(), rel=1e-12)
    copied = tensor.rows().astype(np.float64) - tensor.grouping.to_rows(w)
    assert row.mse != pytest.approx((copied**2).sum() / w.size, rel=1e-6)


def test_another_weight_has_other_errors():
    tensor = quantize(W, bits=3)
    assert (
        audit_layer("a", tensor, W[:, ::-1].copy()).max_error > audit_layer("a", tensor, W).bound
    )


def test_exact_weights_have_an_infinite_sqnr():
    w = np.array([-1.0, 0.0, 0.0, 14.0], np.float32).reshape(1, 4, 1, 1)
    assert audit_layer("a", quantize(w), w).sqnr_db == math.inf


def test_clipped_weights_are_counted():
    w = np.ones((1, 4000, 1, 1), np.float32)
    w[0, 0] = 100.0
    w[0, 1] = -100.0
    row = audit_layer("a", quantize(w, scheme="affine:percentile"), w)
    assert row.clipped == 2 / 4000


def test_what_needs_the_original_is_not_known_without_it():
    row = audit_layer("a", quantize(W))
    assert row.max_error is row.mse is row.sqnr_db is row.clipped is None
    assert row.bound is not None
    assert total_of([row]).sqnr_db is None


def test_cases_of_breakpoints_and_of_optimality_are_recorded():
    tensor = quantize(W, scheme="pwlq", granularity="c-shape")  # 36 groups of 6: below 3 sigma
    cases = audit_layer("a", tensor, W).cases
    assert sum(cases.values()) == 36
    assert cases["closed"] == 0
    tensor = quantize(W, scheme="lloyd-max")
    assert audit_layer("a", tensor, W).cases == {"optimal": 4}


@pytest.mark.parametrize(
    ("granularity", "group", "name"),
    [("layer", 0, "all weights"), ("filter", 3, "f 3"), ("f-shape", 14, "c 1, r 1, s 2"),
     ("c-shape", 14, "f 1, r 1, s 2"), ("axes:F,R", 5, "f 1, r 2"),
     ("block-32", 3, "f 1, block 1")],
)  # fmt: skip
def test_groups_are_named_by_their_place(granularity, group, name):
    assert group_name(quantize(W, granularity=granularity), group) == name


def test_one_group_s_codes_levels_and_weights():
    tensor = quantize(W, scheme="pwlq", granularity="filter", bits=4)
    facts = audit_group(tensor, W, 2)
    assert facts.where == "f 2"
    assert facts.params["breakpoint"] == tensor.params["breakpoint"][2, 0]
    assert (facts.lowest, facts.highest) == (W[2].min(), W[2].max())
    assert sum(line.count for line in facts.codes) == 54
    assert len(facts.codes) == 32
    for line in facts.codes:
        if line.count:
            chosen = W[2].ravel()[tensor.codes[2] == line.code]
            assert (line.lowest, line.highest) == (chosen.min(), chosen.max())
            assert abs(chosen - line.level).max() <= facts.bound
    groups = audit_groups(tensor, W)
    assert len(groups) == 4
    assert groups[2].max_error == facts.max_error


@pytest.mark.parametrize("scheme", [s.name + c for s in every_scheme() for c in ("", "+bc")])
def test_the_computation_of_a_weight_ends_at_its_decoded_value(scheme):
    for granularity in ("c-shape", "block-32"):
        tensor = quantize(W, scheme=scheme, granularity=granularity, bits=4)
        decoded = tensor.dequantize()
        for place in ((0, 0, 0, 0), (3, 5, 2, 2), (1, 2, 1, 0)):
            steps = {s.symbol: s.value for s in audit_weight(tensor, W, place).steps}
            assert steps["x"] == W[place]
            assert steps["x_hat"] == decoded[place]
            assert abs(steps["x_hat - x"]) <= steps["bound"]
            alone = audit_weight(tensor, None, place).steps
            assert alone[-1].value == decoded[place]


def test_every_intermediate_number_of_a_weight():
    w = np.array([-1.0, 0.0, 0.4, 14.0], np.float32).reshape(1, 4, 1, 1)
    result = audit_weight(quantize(w, bits=4), w, (0, 2, 0, 0))
    values = [(s.symbol, s.value) for s in result.steps]
    x = float(np.float32(0.4))
    assert values[:-2] == [
        ("x", x), ("lowest of group", -1.0), ("highest of group", 14.0),
        ("scale", 1.0), ("zero_point", 1), ("x / scale", x),
        ("rint(x / scale) + zero_point", 1), ("q", 1), ("q - zero_point", 0),
        ("scale * (q - zero_point)", 0.0), ("x_hat", 0.0),
    ]  # fmt: skip
    assert result.code_in_binary == "0001"


def test_every_intermediate_number_of_a_weight_in_a_negative_tail():
    # H = 3, p = 3, m = 9: -6.1 is 3.1 beyond p, 1.55 steps of 2, so j = 2 and the code H - j = 1
    w = np.array([-9.0, -6.1, 0.0, 3.0], np.float32).reshape(1, 4, 1, 1)
    ends = {key: np.array([[v]], np.float32) for key, v in (("breakpoint", 3), ("maximum", 9))}
    codes = np.array([[0, 1, 8, 12]], np.uint8)
    tensor = QuantizedTensor(codes, ends, "pwlq", "filter", 3, w.shape)
    result = audit_weight(tensor, w, (0, 1, 0, 0))
    values = {s.symbol: s.value for s in result.steps}
    assert values["(|x| - p) * H / (m - p)"] == pytest.approx(1.55)
    assert [values[name] for name in ("m", "p", "H", "j", "code")] == [9.0, 3.0, 3, 2, 1]
    assert values["-(p + j * (m - p) / H)"] == values["x_hat"] == -7.0
    assert (result.code_in_binary, result.stored_bits) == ("0001", 4)


def test_where_a_breakpoint_comes_from():
    # a closed form wants 3 to 10 sigma: 54 normal weights have less, 54 with an outlier more
    w = W.copy()
    w[1, 2, 0, 0] = 6.0
    for f, symbol, rule in ((1, "p / sigma", "closed"), (2, "p / sigma", "root")):
        tensor = quantize(w, scheme="pwlq")
        steps = {s.symbol: s for s in audit_weight(tensor, w, (f, 2, 0, 0)).steps}
        sigma = w[f].astype(np.float64).std(ddof=1)
        assert steps["sigma"].value == pytest.approx(sigma, rel=1e-12)
        assert steps["m / sigma"].value == pytest.approx(abs(w[f]).max() / sigma, rel=1e-12)
        assert steps[symbol].equation.startswith(rule)
        stored = tensor.params["breakpoint"][f, 0]
        assert np.float32(steps[symbol].value * sigma) == pytest.approx(stored, rel=1e-6)
    searched = quantize(w, scheme="pwlq:search")
    steps = {s.symbol: s.value for s in audit_weight(searched, w, (1, 0, 0, 0)).steps}
    m = float(searched.params["maximum"][1, 0])
    assert np.float32(m * steps["t"] / 1000) == searched.params["breakpoint"][1, 0]
    constant = np.full((1, 2, 1, 1), 0.5, np.float32)
    steps = audit_weight(quantize(constant, scheme="pwlq"), constant, (0, 0, 0, 0)).steps
    assert next(s for s in steps if s.symbol == "p / m").value == 0.5


def test_the_code_of_a_corrected_weight_is_shown_with_the_parameters_that_chose_it():
    for scheme in ("affine:mse", "pwlq:laplacian", "power-of-two"):
        tensor, plain = (quantize(W, scheme=scheme + c, bits=4) for c in ("+bc", ""))
        shown = {s.symbol: s.value for s in audit_weight(tensor, W, (2, 1, 0, 2)).steps}
        for step in audit_weight(plain, W, (2, 1, 0, 2)).steps:
            if step.symbol.startswith(("x / scale", "scale", "sigma", "p / sigma", "j", "e")):
                assert shown[f"plain {step.symbol}"] == step.value
        if scheme == "affine:mse":  # a = deviation(x) / deviation(x_hat) is what moved the scale
            a = shown["deviation(x)"] / shown["deviation(x_hat)"]
            assert shown["scale"] == np.float32(shown["plain scale"] * a)
            assert shown["scale"] != shown["plain scale"]


@pytest.mark.parametrize("place", [(4, 0, 0, 0), (0, 0, 0), (-1, 0, 0, 0), (0, 0, 0, 3)])
def test_a_weight_outside_is_refused(place):
    with pytest.raises(BadInput, match="lies not within"):
        audit_weight(quantize(W), W, place)


def test_a_group_outside_is_refused():
    with pytest.raises(BadInput, match=r"group=4: choose 0\.\.3"):
        audit_group(quantize(W), W, 4)


MODEL = build("yolov7-tiny", width=0.0625, seed=1, classes=3)


def test_totals_are_sums_over_layers():
    result = audit(quantize_model(MODEL, uniform()), MODEL)
    rows = result.layers
    assert result.total.packed == sum(row.packed for row in rows)
    noise = sum(row.squared_error for row in rows)
    signal = sum(row.squared_weight for row in rows)
    assert result.total.sqnr_db == pytest.approx(10 * math.log10(signal / noise))
    assert set(result.bytes) == {"fp32", "fp16", "nominal", "packed", "entropy", "file"}
    assert result.total.bound == max(row.bound for row in rows)
    assert result.total.used_codes == sum(row.used_codes for row in rows)
    bits = sum(row.entropy_bits * row.weights for row in rows) / result.total.weights
    assert result.total.entropy_bits == pytest.approx(bits)


def test_cases_are_counted_over_layers():
    result = audit(quantize_model(MODEL, parse("* pwlq c-shape 4")), MODEL)
    assert sum(result.total.cases.values()) == result.total.groups
    assert len([n for n in result.total.cases.values() if n]) > 1


def test_a_row_names_the_axes_that_the_granularity_keeps():
    for granularity, axes in (("layer", ""), ("f-shape", "CRS"), ("f-shape-swapped", "FRS")):
        assert audit_layer("a", quantize(W, granularity=granularity)).axes == axes


def test_the_wrong_original_is_refused():
    for other in (build("yolov7-tiny", 1 / 8, classes=3), build("yolov7", 1 / 16, classes=3)):
        with pytest.raises(BadInput, match=r"^model\..*give the model that it was made of"):
            audit(quantize_model(MODEL, uniform()), other)
    with pytest.raises(BadInput, match="holds no quantized weight"):
        audit(MODEL)


def test_weights_quantized_before_folding_are_not_compared_with_folded_ones(tmp_path, capsys):
    raw = build("yolov7", width=0.0625, seed=2, classes=2, folded=False)
    save_model(raw, tmp_path / "raw.h5")
    save_model(load_model(tmp_path / "raw.h5"), tmp_path / "folded.h5")
    save_model(quantize_model(raw, uniform()), tmp_path / "q.h5")
    command = ["audit", str(tmp_path / "q.h5"), "--against"]
    assert main([*command, str(tmp_path / "raw.h5")]) == 0
    capsys.readouterr()
    for layer in ([], ["--layer", "model.105.m.0"]):
        assert main([*command, str(tmp_path / "folded.h5"), *layer]) == 3
        assert "quantized before folding: give the unfolded model" in capsys.readouterr().err


def test_a_grid_has_a_row_per_scheme_granularity_and_width():
    rows = list(grid(weights_of(MODEL), ["affine", "pwlq"], ["filter", "c-shape"], [3, 4]))
    assert [(r.scheme, r.granularity, r.bits) for r in rows] == [
        (s, g, b) for s in ("affine", "pwlq") for g in ("filter", "c-shape") for b in (3, 4)
    ]
    direct = audit(quantize_model(MODEL, parse("* pwlq c-shape 4")), MODEL).total
    assert rows[-1].total.sqnr_db == pytest.approx(direct.sqnr_db)
    assert rows[-1].total.packed == direct.packed
    assert rows[-1].code_bits == 5


def test_a_grid_has_the_rows_of_every_layer_under_its_totals():
    (row,) = grid(weights_of(MODEL), ["pwlq"], ["c-shape"], [4])
    layers = audit(quantize_model(MODEL, parse("* pwlq c-shape 4")), MODEL).layers
    assert row.rows == layers
    other = audit(quantize_model(MODEL, parse("* pwlq c-shape 5")), MODEL).layers
    assert row.rows != other


@pytest.fixture
def files(tmp_path):
    """A float model and a quantized one on disk."""
    save_model(MODEL, tmp_path / "float.h5")
    save_model(quantize_model(MODEL, parse("* pwlq c-shape 4")), tmp_path / "q.h5")
    return tmp_path


def run(capsys, *arguments):
    import argparse

    top = argparse.ArgumentParser()
    verb.add_parser(top.add_subparsers())
    options = top.parse_args(["audit", *map(str, arguments)])
    assert options.run(options) == 0
    return capsys.readouterr().out


def test_the_verb_s_json_has_the_stable_keys(files, capsys):
    out = run(capsys, files / "q.h5", "--against", files / "float.h5", "--json")
    result = json.loads(out)
    assert set(result["bytes"]) == {"fp32", "fp16", "nominal", "packed", "entropy", "file"}
    assert result["bytes"]["file"] == (files / "q.h5").stat().st_size
    row = result["layers"][0]
    assert (row["bits"], row["code_bits"]) == (4, 5)
    assert row["sqnr_db"] > 15


def test_the_verb_shows_that_four_bits_are_five(files, capsys):
    lines = run(capsys, files / "q.h5", "--against", files / "float.h5").splitlines()
    header, first = lines[0].split(), lines[1].split()
    shown = dict(zip(header, first, strict=True))
    assert (shown["bits"], shown["code_bits"]) == ("4", "5")
    out = run(capsys, files / "q.h5", "--layer", "model.0.conv", "--weight", "0,0,0,0")
    assert "5 bits" in out


@pytest.mark.parametrize(("seed", "code"), [(1, 0), (2, 1)])
def test_the_verb_leaves_with_1_where_a_bound_is_broken(files, capsys, seed, code):
    other = files / f"seed-{seed}.h5"
    save_model(build("yolov7-tiny", width=0.0625, seed=seed, classes=3), other)
    assert main(["audit", str(files / "q.h5"), "--against", str(other), "--json"]) == code
    assert json.loads(capsys.readouterr().out)["total"]["within_bound"] == (code == 0)


def test_the_verb_s_csv_has_all_columns(files, capsys):
    table = files / "audit.csv"
    run(capsys, files / "q.h5", "--against", files / "float.h5", "--csv", table)
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == sum(node.op == "conv" for node in MODEL.nodes)
    assert float(rows[0]["mse"]) > 0


def test_the_verb_goes_down_to_a_group_and_draws_it(files, capsys):
    arguments = (files / "q.h5", "--against", files / "float.h5", "--plot", files / "pictures")
    run(capsys, *arguments)
    out = run(capsys, *arguments, "--layer", "model.0.conv", "--group", "3")
    assert "breakpoint" in out
    names = {path.name for path in (files / "pictures").iterdir()}
    assert names == {"sqnr.svg", "model.0.conv-3.svg"}
    for name in names:
        ElementTree.parse(files / "pictures" / name)


def test_the_verb_s_grid(files, capsys):
    out = run(capsys, files / "float.h5", "--grid", "--scheme", "affine", "--granularity", "layer",
              "--bits", "2-4", "--json")  # fmt: skip
    assert [row["bits"] for row in json.loads(out)["grid"]] == [2, 3, 4]


def test_the_verb_s_grid_of_one_layer_and_its_csv_of_all(files, capsys):
    table = files / "grid.csv"
    way = ("--grid", "--scheme", "affine", "--granularity", "filter", "--bits", "3,4")
    run(capsys, files / "float.h5", *way, "--csv", table)
    with table.open(newline="", encoding="utf-8") as lines:
        rows = {(row["name"], row["bits"]): row for row in csv.DictReader(lines)}
    convolutions = sum(node.op == "conv" for node in MODEL.nodes)
    assert len(rows) == 2 * (convolutions + 1)  # and the totals, named "all"
    out = run(capsys, files / "float.h5", *way, "--layer", "model.7.conv", "--json")
    for row in json.loads(out)["grid"]:
        assert row["weights"] == MODEL["model.7.conv"].arrays["weight"].size
        assert row["mse"] == float(rows["model.7.conv", str(row["bits"])]["mse"])
        assert row["mse"] != float(rows["model.0.conv", str(row["bits"])]["mse"])


def test_the_verb_s_tables_have_a_column_for_every_measure(files, capsys):
    measures = {"max_error", "bound", "mse", "sqnr_db", "clipped", "used_codes", "entropy_bits"}
    measures |= {"axes", "nominal", "packed", "entropy"}
    for arguments in ((files / "q.h5",), (files / "float.h5", "--grid", "--scheme", "affine")):
        lines = run(capsys, *arguments).splitlines()
        assert measures <= set(lines[0].split())
        assert len(lines[1].split()) == len(lines[0].split())


@pytest.mark.parametrize(
    "arguments",
    [("--group", "3"), ("--weight", "0,0,0,0"), ("--layer", "model.0"), ("--grid", "--plot", "x"),
     ("--grid", "--against", "demo"), ("--scheme", "affine"), ("--granularity", "layer"),
     ("--bits", "4"), ("--layer", "model.0.conv", "--weight", "0,0,0,0", "--group", "3"),
     ("--layer", "model.0.conv", "--weight", "0,0,0,0", "--plot", "x")],
)  # fmt: skip
def test_options_without_effect_and_unknown_layers_are_refused(files, capsys, arguments):
    with pytest.raises(BadInput, match=arguments[-2] + "|layer='model.0': is no quantized weight"):
        run(capsys, files / "q.h5", *arguments)


@pytest.mark.parametrize("bits", ["8-2", "-", "2-", "4,", "four"])
def test_widths_that_are_none_are_refused(files, capsys, bits):
    with pytest.raises(BadInput, match="write 4 or 3,4,5 or 2-8"):
        run(capsys, files / "float.h5", "--grid", f"--bits={bits}")


def test_the_verb_refuses_the_wrong_original_of_one_layer(files, capsys):
    save_model(build("yolov7-tiny", 1 / 16, classes=5), files / "other.h5")
    command = ["audit", str(files / "q.h5"), "--against", str(files / "other.h5")]
    for more in ([], ["--weight", "0,0,0,0"], ["--group", "0"]):
        assert main([*command, "--layer", "model.77.m.0", *more]) == 3
        assert "model.77.m.0: is (30, 8, 1, 1) in the float" in capsys.readouterr().err


def test_a_layer_that_is_not_there_is_told_where_names_stand(files, capsys):
    with pytest.raises(
        BadInput, match=r"names are like model\.0\.conv, .*info --layers lists all"
    ):
        run(capsys, files / "q.h5", "--layer", "model.0")
    with pytest.raises(BadInput, match="is no quantized weight: there is none in this model"):
        run(capsys, files / "float.h5", "--layer", "model.0.conv")


def test_the_verb_shows_the_weights_of_every_code_even_if_the_first_has_none(files, capsys):
    arguments = (files / "q.h5", "--against", files / "float.h5", "--layer", "model.0.conv")
    groups = json.loads(run(capsys, *arguments, "--json"))["groups"]
    empty = next(g["group"] for g in groups if g["lowest"] > -g["maximum"] / 2)
    lines = run(capsys, *arguments, "--group", str(empty)).splitlines()
    assert lines[0].split() == ["code", "level", "count", "lowest", "highest"]
    assert lines[33] == ""  # 32 codes


def test_the_verb_s_grid_takes_axis_sets_with_their_commas(files, capsys):
    out = run(capsys, files / "float.h5", "--grid", "--scheme", "affine", "--granularity",
              "filter,axes:F,R,layer,axes:C", "--json")  # fmt: skip
    names = [row["granularity"] for row in json.loads(out)["grid"]]
    assert names == ["filter", "axes:F,R", "layer", "axes:C"]
