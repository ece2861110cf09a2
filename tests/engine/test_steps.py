"""Steps: every kind has its fields and no others, and lies in a row of the same length."""

import numpy as np
import pytest

from refquant.engine.steps import BORDER, FIELDS, KINDS, RECORDS, STEP, step


def test_a_border_of_two_blocks():
    row = step(BORDER, 2, y=640, y_plane=4096, y_row=512, rows=6, halo=1)
    assert (row.dtype, row.shape) == (STEP, (1,))
    assert row["items"].tolist() == [2]
    assert row.view(RECORDS[BORDER]).tolist() == [(BORDER, 2, 640, 4096, 512, 6, 1)]


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_what_is_written_by_name_is_read_by_name_after_steps_are_joined(kind):
    values = {name: 100 + i for i, name in enumerate(FIELDS[kind])}
    both = np.concatenate([np.zeros(0, STEP), step(kind, 7, **values), step(kind, 8, **values)])
    record = both.view(RECORDS[kind])
    assert record["items"].tolist() == [7, 8]
    assert both["kind"].tolist() == [kind, kind]
    assert {name: record[name][1] for name in FIELDS[kind]} == values


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_a_field_that_the_kind_lacks_and_one_that_is_left_out_are_refused(kind):
    values = dict.fromkeys(FIELDS[kind], 0)
    with pytest.raises(TypeError, match="colour"):
        step(kind, 1, **values, colour=1)
    left_out = FIELDS[kind][-1]
    del values[left_out]
    with pytest.raises(TypeError, match=left_out):
        step(kind, 1, **values)
