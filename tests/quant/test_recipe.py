"""Recipes: rules as text, first match wins, what is kept and what is dropped."""

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.engine.walk import walk
from refquant.graph.architecture import build
from refquant.graph.fold import fold
from refquant.graph.graph import array_of
from refquant.quant.recipe import parse, quantize_model, read, rounded, uniform, with_default
from refquant.quant.rules import Rule
from refquant.quant.tensor import QuantizedTensor

MODEL = build("yolov7-tiny", width=0.0625, seed=1, classes=3)
HEAD = ("model.77.m.0", "model.77.m.1", "model.77.m.2")


def test_rules_of_a_worked_example():
    text = """
    model.0.conv skip        # the stem stays float32
    model.77.*  affine filter 8;  * pwlq:search c-shape 4 float16
    """
    assert parse(text) == (
        Rule("model.0.conv", skip=True),
        Rule("model.77.*", "affine", "filter", 8, "float32"),
        Rule("*", "pwlq:search", "c-shape", 4, "float16"),
    )


def test_the_first_rule_that_matches_wins():
    model = quantize_model(
        MODEL, parse("model.0.conv skip; model.77.* symmetric layer 8; * affine filter 3")
    )
    for node in model.nodes:
        if node.op != "conv":
            continue
        weight = node.arrays["weight"]
        if node.name == "model.0.conv":
            assert isinstance(weight, np.ndarray)
        elif node.name in HEAD:
            assert (weight.scheme, weight.granularity, weight.bits) == ("symmetric", "layer", 8)
        else:
            assert (weight.scheme, weight.granularity, weight.bits) == ("affine", "filter", 3)


def test_a_layer_that_no_rule_matches_stays_as_it_is():
    model = quantize_model(MODEL, parse("model.0.conv affine filter 4"))
    quantized = [
        n.name for n in model.nodes if isinstance(n.arrays.get("weight"), QuantizedTensor)
    ]
    assert quantized == ["model.0.conv"]


def test_biases_and_anchors_stay_and_magnitudes_go():
    model = quantize_model(MODEL, uniform())
    for before, after in zip(MODEL.nodes, model.nodes, strict=True):
        kept = {key for key in before.arrays if not key.endswith("_magnitude")}
        assert set(after.arrays) == kept
        for key in kept - {"weight"}:
            assert np.array_equal(before.arrays[key], after.arrays[key])
    assert any("bias_magnitude" in node.arrays for node in MODEL.nodes)


def test_a_rule_and_its_text_are_the_same():
    rules = parse(
        "a* skip; b* affine:mse+bc filter+c-shape:budget=3.5 5; * pwlq axes:F,R 2 float16"
    )
    assert parse("; ".join(map(str, rules))) == rules
    model = quantize_model(MODEL, with_default("model.0.conv skip", bits=6))
    assert model.source["recipe"] == "model.0.conv skip; * affine filter 6 float32"


def test_a_file_is_read_as_the_text_is(tmp_path):
    path = tmp_path / "recipe.txt"
    path.write_text("# all of it\n* symmetric layer 5\n", encoding="utf-8")
    assert read(path) == parse("* symmetric layer 5")
    assert with_default(str(path))[0] == parse("* symmetric layer 5")[0]


def test_a_file_that_is_no_recipe_is_refused_by_its_name_and_the_words(tmp_path):
    path = tmp_path / "recipe.txt"
    for text in ("* affine filter 4\nmodel.0.conv skipp", "* affin filter 4", "* affine filter 9"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(BadInput, match=r"recipe\.txt: .*(skipp|affin|9)") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "# nothing", "model.0.conv", "* affine filter", "* affine filter four", "a b c 4 5 6",
     "* affin filter 4", "* affine filtre 4", "* affine filter 9", "* affine filter 4 float64",
     "* affine filter+filtre 4", "* affine filter:budget=0.5 4", "* affine filter:budget= 4",
     "* affine filter " + "4" * 5000],
)  # fmt: skip
def test_what_is_no_recipe_is_refused_in_one_line(text):
    with pytest.raises(BadInput) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def same_weights(one, other):
    """Whether two models have the same quantized weights, layer by layer."""
    pairs = [
        (a.arrays["weight"], b.arrays["weight"])
        for a, b in zip(one.nodes, other.nodes, strict=True)
        if a.op == "conv"
    ]
    return all(
        (a.scheme, a.granularity, a.bits) == (b.scheme, b.granularity, b.bits)
        and np.array_equal(a.codes, b.codes)
        for a, b in pairs
    )


def test_a_model_takes_the_text_of_a_recipe_as_it_takes_its_rules():
    text = "model.77.* symmetric layer 8  # the head\n* affine filter 4"
    one, other = quantize_model(MODEL, text), quantize_model(MODEL, parse(text))
    assert same_weights(one, other)
    assert one.source == other.source
    assert not same_weights(one, quantize_model(MODEL, "* affine filter 4"))


def test_a_model_takes_the_name_of_a_scheme_with_keywords():
    named = quantize_model(MODEL, "pwlq", granularity="c-shape", bits=3, params_dtype="float16")
    assert same_weights(named, quantize_model(MODEL, "* pwlq c-shape 3 float16"))
    assert named["model.0.conv"].arrays["weight"].params["maximum"].dtype == np.float16
    assert same_weights(quantize_model(MODEL, " affine "), quantize_model(MODEL, uniform()))
    assert not same_weights(named, quantize_model(MODEL, "pwlq", granularity="c-shape"))


def test_keywords_beside_a_whole_recipe_are_refused():
    for recipe in ("* affine filter 4", uniform()):
        with pytest.raises(BadInput, match=r"^bits=8: is for a scheme's name alone: write it"):
            quantize_model(MODEL, recipe, bits=8)
    assert quantize_model(MODEL, "affine", bits=8)["model.0.conv"].arrays["weight"].bits == 8


@pytest.mark.parametrize("recipe", ["", "  \n", "# nothing", "#", ";", (), [], iter(())])
def test_an_empty_recipe_is_refused_and_one_rule_is_not(recipe):
    with pytest.raises(BadInput, match=r"^recipe: has no rules: write 'pattern skip' or "):
        quantize_model(MODEL, recipe)
    assert quantize_model(MODEL, iter(parse("* skip"))).source["recipe"] == "* skip"


def test_a_file_of_comments_alone_is_refused_by_its_name(tmp_path):
    path = tmp_path / "recipe.txt"
    path.write_text("# nothing yet\n\n  # * affine filter 4\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"recipe\.txt: recipe: has no rules"):
        with_default(str(path))
    path.write_text("# a rule\n* affine filter 4\n", encoding="utf-8")
    assert with_default(str(path))[0] == parse("* affine filter 4")[0]


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        ("affin", "scheme='affin': choose affine"),
        (("* affine filter 4",), "'\\* affine filter 4' is not a rule: write 'pattern"),
        (parse("* skip") + (None,), "None is not a rule"),
    ],
)
def test_what_is_no_recipe_for_a_model_is_refused_in_one_line(recipe, problem):
    with pytest.raises(BadInput, match=problem) as caught:
        quantize_model(MODEL, recipe)
    assert "\n" not in str(caught.value)


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(
        BadInput, match=r"'model\.1000\.\*' matches no convolution: names are like"
    ):
        quantize_model(MODEL, parse("model.1000.* skip; * affine filter 4"))


def test_a_text_longer_than_a_file_s_name_is_a_recipe():
    text = "; ".join(f"model.{i}.* affine filter 4" for i in range(400))
    assert with_default(text)[:400] == parse(text)


def test_a_model_without_convolutions_is_refused():
    none = MODEL.with_nodes(())
    with pytest.raises(BadInput, match="model: has no convolution to quantize"):
        quantize_model(none, parse("* affine filter 4"))


def test_a_quantized_model_is_not_quantized_again():
    with pytest.raises(BadInput, match="is quantized already"):
        quantize_model(quantize_model(MODEL, uniform()), uniform())


def test_biases_are_halved_where_asked_for():
    model = quantize_model(
        MODEL, parse("model.77.* skip; * affine filter 4"), bias_dtype="float16"
    )
    assert model["model.0.conv"].arrays["bias"].dtype == np.float16
    assert model["model.77.m.0"].arrays["bias"].dtype == np.float32
    with pytest.raises(BadInput, match="bias_dtype='float64': choose"):
        quantize_model(MODEL, uniform(), bias_dtype="float64")


def test_a_bias_too_large_for_float16_is_refused_by_name():
    with pytest.raises(BadInput, match=r"^layer, bias: 100000 does not fit float16: keep float32"):
        rounded(np.array([1e5], np.float32), "float16", "layer, bias")


def test_nan_is_refused_by_the_name_of_its_layer():
    nodes = list(MODEL.nodes)
    index = next(i for i, node in enumerate(nodes) if node.name == "model.7.conv")
    MODEL.nodes[index].arrays["weight"][0, 0, 0, 0] = np.nan
    try:
        with pytest.raises(BadInput, match=r"^model\.7\.conv: has a weight of magnitude nan"):
            quantize_model(MODEL, uniform())
    finally:
        MODEL.nodes[index].arrays["weight"][0, 0, 0, 0] = 0.0


def test_threads_do_not_show():
    recipe = parse("* pwlq filter+c-shape 4")
    one, two = (quantize_model(MODEL, recipe, threads=threads) for threads in (1, 2))
    for a, b in zip(one.nodes, two.nodes, strict=True):
        for key in a.arrays:
            assert np.array_equal(array_of(a.arrays[key]), array_of(b.arrays[key]))


def test_quantized_before_folding_differs_from_after_and_both_run():
    raw = build("yolov7", width=0.0625, seed=2, classes=2, folded=False)
    recipe = uniform(granularity="layer", bits=8)
    before = fold(quantize_model(raw, recipe))
    after = quantize_model(fold(raw), recipe)
    unfolded = quantize_model(raw, recipe)
    x = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    outputs = [
        list(walk(m, x, arithmetic="math"))[-1][1] for m in (before, after, unfolded, fold(raw))
    ]
    assert np.allclose(outputs[0], outputs[2], rtol=0, atol=1e-9)  # folding is exact algebra
    assert abs(outputs[0] - outputs[1]).max() > 1e-6
    assert 0 < abs(outputs[0] - outputs[3]).max() < 10
    stay = [n.name for n in before.nodes if isinstance(n.arrays.get("weight"), QuantizedTensor)]
    assert stay == ["model.105.m.0", "model.105.m.1", "model.105.m.2"]  # nothing to fold there


def test_a_plain_tuple_is_the_words_of_a_rule():
    model = build("yolov7-tiny", width=0.0625)
    words = [("model.0.*", "skip"), ("*", "affine", "filter", 4)]
    text = "model.0.* skip; * affine filter 4"
    made = [quantize_model(model, recipe).source["recipe"] for recipe in (words, text)]
    assert made[0] == made[1]
    with pytest.raises(BadInput, match="'\\* affine filter' is not a rule"):
        quantize_model(model, [("*", "affine", "filter")])
