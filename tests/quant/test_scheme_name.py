"""The full name of a scheme: its parts, and that there is one grammar."""

import pytest

from refquant.arrays.errors import BadInput
from refquant.quant.scheme_name import SchemeName
from refquant.quant.schemes import every_scheme, find_scheme


def test_parts_of_a_worked_example():
    assert SchemeName.parse("affine") == ("affine", "", False)
    assert SchemeName.parse("affine:mse") == ("affine", "mse", False)
    assert SchemeName.parse("affine+bc") == ("affine", "", True)
    assert SchemeName.parse("pwlq:laplacian-root+bc") == ("pwlq", "laplacian-root", True)


@pytest.mark.parametrize("name", [s.name + c for s in every_scheme() for c in ("", "+bc")])
def test_a_name_and_its_parts_are_the_same(name):
    parts = SchemeName.parse(name)
    assert str(parts) == name == find_scheme(name).name
    assert str(parts._replace(corrected=not parts.corrected)) != name


@pytest.mark.parametrize("name", ["affine:", "affine:+bc", "affine+bc+bc", "affine:mse+bc+bc"])
def test_a_name_with_an_empty_option_or_a_second_correction_is_refused(name):
    with pytest.raises(BadInput, match=r"names no option|is corrected twice"):
        SchemeName.parse(name)


@pytest.mark.parametrize("name", ["", "+bc", ":mse", "affine+bc:mse", "affine:mse:mse"])
def test_other_names_have_parts_but_no_scheme(name):
    SchemeName.parse(name)
    with pytest.raises(BadInput, match="choose"):
        find_scheme(name)


def test_an_endless_name_is_refused_in_a_short_line():
    with pytest.raises(BadInput) as caught:
        find_scheme("affine" + "+bc" * 10_000)
    assert len(str(caught.value)) < 200
