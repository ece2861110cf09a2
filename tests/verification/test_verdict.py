"""The rules of a verdict, by their numbers in verdict.py, on numbers that fit in the head."""

import json

import numpy as np
import pytest
from small_model import JOINED, STEM, small_model

from refquant.cli import verify as verb
from refquant.engine.walk import walk
from refquant.verification import verdict
from refquant.verification.declared import Declared
from refquant.verification.enclosed import Enclosed
from refquant.verification.golden.record import record_golden
from refquant.verification.local_evidence import Measure, shares
from refquant.verification.report import Report
from refquant.verification.verdict import Verdict, Whole, excess_of, judge, of_whole, weigh
from refquant.verification.verify import verify


def enclosed(value, bound) -> Enclosed:
    return Enclosed(np.array(value, float), np.array(bound, float))


def decided(found, value, bound, local=True) -> tuple[str | None, str | None]:
    """The word and the ground of a node."""
    return judge(np.array(found), enclosed(value, bound), local)[:2]


def test_the_share_of_a_bound_of_a_worked_example():  # (1)
    y = enclosed([4.0, 4.0, 4.0, 4.0, 4.0], [2.0, 2.0, 0.0, 0.0, np.inf])
    share = excess_of(np.array([5.0, 10.0, 4.0, 4.5, 4.0]), y)
    assert share.tolist()[:4] == [0.5, 3.0, 0.0, np.inf]
    assert np.isnan(share[4])
    strange = excess_of(np.array([np.nan, np.inf]), enclosed([4.0, 4.0], [2.0, np.inf]))
    assert strange[0] == np.inf
    assert np.isnan(strange[1])


def test_a_node_without_a_tensor():  # (2), (3)
    assert verdict.of_missing(covered=False, is_input=True)[:2] == (None, None)
    assert verdict.of_missing(covered=True, is_input=False)[:2] == (None, None)
    assert verdict.of_missing(covered=False, is_input=False)[:2] == ("undecided", None)


def test_a_tensor_that_cannot_be_the_node_s():  # (4), (5)
    assert verdict.of_unusable("shape [1]") == ("wrong", "definition", "shape [1]")
    assert verdict.of_unknown_inputs()[:2] == ("undecided", None)


def test_a_broken_bound_is_a_theorem_even_where_others_are_unknown():  # (6), (7)
    assert decided([4.0, 7.0], [4.0, 4.0], [2.0, 2.0]) == ("wrong", "theorem")
    assert decided([4.0, 7.0], [4.0, 4.0], [np.inf, 2.0]) == ("wrong", "theorem")
    assert decided([np.inf, 7.0], [4.0, 4.0], [np.inf, 3.0]) == ("undecided", None)
    assert decided([4.0, 7.0], [np.nan, 4.0], [np.inf, 3.0]) == ("undecided", None)


def test_a_bound_that_was_passed_on_only_disproves():  # (8)
    assert decided([7.0], [4.0], [2.0], local=False) == ("wrong", "theorem")
    assert decided([5.0], [4.0], [2.0], local=False) == ("undecided", None)
    assert decided([5.0], [4.0], [2.0], local=True) == ("consistent", "theorem")


def by_rules(found, value, bound, direct, plain) -> tuple[str | None, str | None]:
    """The word and the ground where direct sums and the plain bound are others than declared."""
    y, d, p = (enclosed(value, b) for b in (bound, direct, plain))
    return judge(np.array(found), y, True, d, lambda: p)[:2]


def test_beyond_direct_sums_another_algorithm_excuses_but_proves_nothing():  # (9)
    assert by_rules([512.5], [512.0], [1.0], [0.25], [0.125]) == ("undecided", None)
    assert by_rules([512.5], [512.0], [1.0], [0.5], [0.125]) == ("consistent", "theorem")
    assert by_rules([513.5], [512.0], [1.0], [0.5], [0.125]) == ("wrong", "theorem")


def test_a_channel_that_is_not_close_is_undecided_however_wide_its_bound():  # (10), (13)
    wide = [[[9.0, 9.0]]]
    value = [[[256.0, 256.0]]]  # predictions of one row and two columns, a channel each
    plain = [[[0.5, 0.5]]]
    assert by_rules([[[257.0, 256.0]]], value, wide, wide, plain) == ("consistent", "theorem")
    assert by_rules([[[257.5, 256.0]]], value, wide, wide, plain) == ("undecided", None)


def test_one_far_element_of_a_channel_makes_it_not_close():  # (13), the largest magnitude
    value, found = np.full((1, 1, 64, 64), 4.0), np.full((1, 1, 64, 64), 4.0)
    found[0, 0, 5, 5] = 3.9  # by 1/2560 of the channel in the 2-norm, 1/40 of the largest
    y = Enclosed(value, np.ones_like(value))
    narrow = Enclosed(value, np.full_like(value, 2.0**-10))
    assert judge(found, y, True, y, lambda: narrow)[:2] == ("undecided", None)
    found[0, 0, 5, 5] = 3.99
    assert judge(found, y, True, y, lambda: narrow)[:2] == ("consistent", "theorem")


def test_what_is_as_close_as_float32_is_close():  # (14)
    value, bound = [1.0, 256.0], [9.0, 9.0]
    assert by_rules([1.5, 256.0], value, bound, bound, [0.5, 0.5]) == ("consistent", "theorem")
    assert by_rules([1.6, 256.0], value, bound, bound, [0.5, 0.5]) == ("undecided", None)


def test_no_bound_at_all_leaves_evidence_of_closeness():  # (11)
    none = [np.inf]
    assert by_rules([256.5], [256.0], none, none, [0.1]) == ("consistent", "evidence")
    assert by_rules([258.0], [256.0], none, none, [0.1]) == ("undecided", None)


def test_a_bound_that_zeros_would_keep_proves_nothing():  # (12), (14)
    assert decided([0.0, 1.0], [1.0, -1.0], [1.0, 2.0]) == ("undecided", None)
    assert decided([0.5, 1.0], [1.0, -1.0], [0.5, 2.0]) == ("consistent", "theorem")
    assert decided([0.0, 0.0], [0.0, 0.0], [1.0, 1.0]) == ("consistent", "theorem")


def test_evidence_of_worked_examples():  # (15) to (18)
    assert weigh(None, True, near=True)[:2] == ("undecided", None)
    assert weigh(8.1, True, near=False)[:2] == ("implausible", "evidence")
    assert weigh(8.0, True, near=False)[:2] == ("undecided", None)
    assert weigh(1.0, True, near=True)[:2] == ("consistent", "evidence")
    assert weigh(1.0, False, near=True)[:2] == ("undecided", None)
    assert weigh(1.0, True, near=False)[:2] == ("undecided", None)  # sums in a narrow type
    assert [verdict.says(k, near=False) for k in (None, 1.0, 1.1, 8.0, 8.1)] == [
        None, "plausible", None, None, "implausible",
    ]  # fmt: skip
    assert verdict.says(1.4, near=True) == "plausible"


def test_k_of_worked_examples():
    assert Measure(1.6, 0.8, near=False, variants=12).k == 2.0
    assert Measure(1.0, np.inf, near=False, variants=12).k is None
    assert Measure(0.0, 0.0, near=True, variants=12).k is None


def test_the_measures_of_a_node_of_worked_examples():  # T and R of local_evidence.py
    off = np.array([[3.0, 4.0], [0.0, 0.0]])  # two channels, of which the second is right
    assert shares(off, np.array([2.0, 1.0])).tolist() == [2.0, np.sqrt(12.5) / 2]
    assert shares(np.array([[np.nan, 0.0]]), np.array([1.0])).tolist() == [np.inf, np.inf]


PROVEN, SHOWN = Verdict("consistent", "theorem"), Verdict("consistent", "evidence")
COVERED, OPEN = Verdict(None), Verdict("undecided")
BROKEN, SHAPE = Verdict("wrong", "theorem"), Verdict("wrong", "definition")
FAR = Verdict("implausible", "evidence")


@pytest.mark.parametrize(
    ("nodes", "whole"),
    [
        ([], ("undecided", None)),
        ([COVERED], ("undecided", None)),
        ([PROVEN, COVERED], ("consistent", "theorem")),
        ([PROVEN, SHOWN, COVERED], ("consistent", "evidence")),
        ([PROVEN, SHOWN, OPEN], ("undecided", None)),
        ([PROVEN, FAR, OPEN], ("implausible", "evidence")),
        ([FAR, SHAPE, OPEN], ("wrong", "definition")),
        ([SHAPE, BROKEN, SHOWN], ("wrong", "theorem")),
    ],
)
def test_the_whole_is_as_grave_as_its_gravest_node(nodes, whole):  # (19), (20)
    assert of_whole(nodes) == Whole(*whole)
    assert of_whole(nodes[::-1]) == Whole(*whole)


def test_codes_are_ours_or_not():  # (21)
    ours, none, wrong = "consistent", "undecided", "wrong"
    assert verdict.of_codes([ours, ours]) == ("consistent", "definition")
    assert verdict.of_codes([ours, none]) == ("undecided", None)
    assert verdict.of_codes([ours, none, wrong]) == ("wrong", "definition")


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """A golden of two nodes, with the tensors of a right implementation."""
    path = tmp_path_factory.mktemp("golden") / "g.h5"
    x = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    record_golden(small_model(), x, path)
    return path, {node.name: y for node, y in walk(small_model(), x)}


def report_of(golden, tmp_path, arrays, **options) -> Report:
    np.savez(tmp_path / "other.npz", **arrays)
    return verify(golden[0], tmp_path / "other.npz", blame=False, **options)


def test_consistent_by_theorem_and_by_evidence_are_told_apart(golden, tmp_path, capsys):
    right = golden[1]
    last = list(right)[-1]
    proven = report_of(golden, tmp_path, right)
    shown = report_of(golden, tmp_path, {last: right[last]})
    assert (proven.verdict, proven.decided_by) == ("consistent", "theorem")
    assert (shown.verdict, shown.decided_by) == ("consistent", "evidence")
    for report, count in ((proven, f"{len(right)} consistent"), (shown, "1 consistent by ev")):
        verb.show(report, every=False)
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1] == f"consistent (by {report.decided_by})"
        assert sum(line.startswith(count) for line in lines) == 1
        assert report.as_json()["decided_by"] == report.decided_by
        json.dumps(report.as_json(), allow_nan=False)


def test_every_row_says_what_decided_it(golden, tmp_path):
    right = golden[1]
    arrays = {STEM: right[STEM], JOINED: right[JOINED][:, :, 1:]}
    found = {
        row["node"]: (row["verdict"], row["decided_by"])
        for row in report_of(golden, tmp_path, arrays, variants=0).as_json()["nodes"]
    }
    assert found["images"] == (None, None)
    assert found[STEM] == ("consistent", "theorem")
    assert found[JOINED] == ("wrong", "definition")
    assert {ground for word, ground in found.values() if word == "undecided"} <= {None}
    wrong = report_of(golden, tmp_path, {**right, STEM: right[STEM] + np.float32(1)})
    assert (wrong.verdict, wrong.decided_by) == ("wrong", "theorem")


def test_nothing_is_decided_where_the_verdict_is_undecided(golden, tmp_path):
    right = golden[1]
    last = list(right)[-1]
    report = report_of(golden, tmp_path, {last: right[last]}, variants=0)
    assert (report.verdict, report.decided_by) == ("undecided", None)
    near = report_of(golden, tmp_path, {last: right[last]}, declared=Declared(storage="float16"))
    assert all((row["decided_by"] is None) == (row["verdict"] in (None, "undecided"))
               for row in near.rows)  # fmt: skip
