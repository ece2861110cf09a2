"""The records of an audit: their JSON has the keys that others rely on, in the same order."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from refquant.auditing.audit import audit_layer, total_of
from refquant.auditing.detail import audit_group, audit_groups, audit_weight
from refquant.auditing.detail_rows import CodeAudit
from refquant.auditing.grid import grid
from refquant.quant.tensor import quantize

W = np.array([-1.0, 0.0, 0.4, 14.0], np.float32).reshape(1, 4, 1, 1)
WAY = "scheme granularity axes bits code_bits groups weights"
ERRORS = "max_error bound mse sqnr_db clipped within_bound used_codes entropy_bits"
BYTES = "fp32 fp16 nominal packed entropy"


def test_a_layer_has_the_keys_that_its_csv_has():
    keys = f"name shape {WAY} {ERRORS} {BYTES} squared_error squared_weight cases".split()
    for w in (W, None):
        assert [*audit_layer("a", quantize(W), w).to_json()] == keys


def test_a_total_says_nothing_of_bounds_where_the_weights_are_not_known():
    keys = f"layers weights groups {ERRORS} cases {BYTES} bits_per_weight".split()
    assert [*total_of([audit_layer("a", quantize(W), W)]).to_json()] == keys
    keys.remove("within_bound")
    assert [*total_of([audit_layer("a", quantize(W))]).to_json()] == keys


def test_a_line_of_the_grid_has_its_totals_among_its_keys():
    (line,) = grid({"a": W}, ["affine"], ["filter"], [4])
    plain = line.to_json()
    totals = [*line.total.to_json()]
    assert [*plain] == ["scheme", "granularity", "bits", "axes", "code_bits", *totals, "rows"]
    assert plain["rows"] == [audit_layer("a", quantize(W), W).to_json()]


def test_a_group_has_its_parameters_among_its_keys():
    tensor = quantize(W)
    keys = ["group", "where", "bound", "scale", "zero_point"]
    assert [*audit_groups(tensor, None)[0].to_json()] == keys
    keys += ["lowest", "highest", "max_error", "mse"]
    assert [*audit_groups(tensor, W)[0].to_json()] == keys
    plain = audit_group(tensor, W, 0).to_json()
    assert [*plain] == [*keys, "codes"]
    assert plain["codes"][0] == {
        "code": 0, "level": -1.0, "count": 1, "lowest": -1.0, "highest": -1.0,
    }  # fmt: skip
    assert plain["codes"][2] == {"code": 2, "level": 1.0, "count": 0}


def test_a_weight_has_its_steps_as_records():
    plain = audit_weight(quantize(W), W, (0, 2, 0, 0)).to_json()
    assert [*plain] == ["weight", "group", "where", "stored_bits", "code_in_binary", "steps"]
    assert plain["weight"] == [0, 2, 0, 0]
    assert [*plain["steps"][0]] == ["symbol", "value", "equation"]


def test_a_record_does_not_change():
    with pytest.raises(FrozenInstanceError):
        CodeAudit(0, 1.0, 2).count = 3


def test_a_field_is_found_by_its_json_key_too():
    row = audit_layer("a", quantize(W), W)
    assert row["mse"] == row.mse
    with pytest.raises(KeyError, match="no_key"):
        row["no_key"]
