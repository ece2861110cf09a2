"""The public doors explain themselves: sections of numpydoc, examples that run, names seen.

Held to it are the names of refquant/__init__.py, and every class of refquant that stands in
their annotations or, in turn, in those of such a class's fields.
"""

import ast
import doctest
import importlib
import inspect
import os
import pydoc
import re
import rlcompleter
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from places import ROOT

import refquant

validation = pytest.importorskip("numpydoc.validate", reason="numpydoc is not installed")

NOT_ASKED = {
    "ES01": "a summary that says everything needs no second paragraph",
    "SA01": "the names are few, and refquant's own docstring lists them all",
}
NOT_ASKED_OF_TYPES = NOT_ASKED | {"EX01": "the example stands with the function that gives it"}

PUBLIC = [name for name in refquant.__all__ if callable(getattr(refquant, name))]
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(refquant, name))]


def classes_in(hint: object) -> Iterator[type]:
    """The classes of refquant in an annotation, at any depth of brackets."""
    if isinstance(hint, type) and hint.__module__.split(".")[0] == "refquant":
        yield hint
    for part in hint if isinstance(hint, list) else get_args(hint):
        yield from classes_in(part)


def types_of(things: set[object]) -> set[type]:
    """The classes of refquant that these functions and classes take, give or have as fields."""
    hints = [hint for thing in things for hint in get_type_hints(thing).values()]
    new = {cls for hint in hints for cls in classes_in(hint)} - things
    return new | types_of(things | new) if new else set()


CLASSES_MET = {cls.__name__: cls for cls in types_of({getattr(refquant, name) for name in PUBLIC})}
TYPES = {name: cls for name, cls in CLASSES_MET.items() if not getattr(cls, "_is_protocol", 0)}
CLASSES = CLASSES_MET | {name: getattr(refquant, name) for name in PUBLIC if name not in FUNCTIONS}


def faults(thing: object, not_asked: dict[str, str]) -> list[str]:
    """What numpydoc finds about a docstring, except what is not asked for."""
    report = validation.validate(validation.get_doc_object(thing))
    return [f"{code}: {text}" for code, text in report["errors"] if code not in not_asked]


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_has_every_section(name):
    thing = getattr(refquant, name)
    assert faults(thing, NOT_ASKED) == []
    sections = validation.Validator(validation.get_doc_object(thing)).section_titles
    wanted = {"Parameters", "Raises", "Examples"} if name in FUNCTIONS else {"Parameters"}
    assert wanted <= {*sections}


@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_type_that_they_take_or_give_documents_its_fields(name):
    assert faults(TYPES[name], NOT_ASKED_OF_TYPES) == []


def methods_of(cls: type) -> dict[str, object]:
    """The public methods and properties that a class defines itself."""
    kinds = (types.FunctionType, property, classmethod, staticmethod)
    return {
        name: value
        for name, value in vars(cls).items()
        if isinstance(value, kinds) and not name.startswith("_")
    }


def sentence(thing: object) -> bool:
    """Whether a docstring begins with a line that begins and ends as a sentence does."""
    first = (inspect.getdoc(thing) or "").partition("\n")[0]
    return re.fullmatch(r"[A-Z`(\"].*[.:]", first) is not None


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_their_methods_say_in_a_sentence_what_they_give(name):
    methods = methods_of(CLASSES[name])
    assert [method for method, value in methods.items() if not sentence(value)] == []


def test_a_docstring_without_parameters_is_found():
    def lacking(x: int) -> int:
        """Give the number back.

        Returns
        -------
        int
            The number.

        Examples
        --------
        None.
        """
        return x

    assert faults(lacking, NOT_ASKED) == ["PR01: Parameters {'x'} not documented"]
    assert faults(type("Bare", (), {}), NOT_ASKED_OF_TYPES) != []
    assert not sentence(lambda: None)


def examples_in(text: str) -> int:
    """How many examples a source text shows."""
    return len(re.findall(r"^ *>>> ", text, re.MULTILINE))


SHOWING = [
    path
    for folder in ("refquant", "weights")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if examples_in(path.read_text(encoding="utf-8"))
]


def module_of(path: Path) -> str:
    """The dotted name under which a file of the package is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("refquant", *parts) if parts[0] == "weights" else parts)


def failures(tests: list[doctest.DocTest]) -> str:
    """What doctest says of examples whose output is another one than they show."""
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    for test in tests:
        runner.run(test, out=said.append)
    return "".join(said)


@pytest.mark.parametrize("path", SHOWING, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_gives_what_it_shows(path):
    tests = doctest.DocTestFinder().find(importlib.import_module(module_of(path)))
    found = sum(len(test.examples) for test in tests)
    assert found == examples_in(path.read_text(encoding="utf-8"))  # and none escapes doctest
    assert failures(tests) == ""


def test_an_example_with_another_output_is_found():
    right, wrong = (
        doctest.DocTestParser().get_doctest(f">>> 1 + 1\n{shown}\n", {}, "name", None, 0)
        for shown in (2, 3)
    )
    assert failures([right]) == ""
    assert "Expected:\n    3\nGot:\n    2" in failures([wrong])


def test_an_example_where_doctest_does_not_look_is_found():
    source = "def f():\n    def g():\n        '''\n        >>> 1\n        1\n        '''\n"
    module = types.ModuleType("hidden")
    exec(source, vars(module))
    assert doctest.DocTestFinder(exclude_empty=True).find(module) == []
    assert examples_in(source) == 1


def test_the_public_names_are_seen_before_they_are_used():
    assert dir(refquant) == sorted(refquant.__all__)
    completer = rlcompleter.Completer({"refquant": refquant})
    assert completer.complete("refquant.load_", 0) == "refquant.load_model("
    script = "import refquant, sys; dir(refquant); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_help_shows_every_public_name_with_its_summary():
    text = pydoc.render_doc(refquant, renderer=pydoc.plaintext)
    for name in PUBLIC:
        assert re.search(rf"^    (class )?{name}\(", text, re.MULTILINE), name
        assert inspect.getdoc(getattr(refquant, name)).splitlines()[0] in text


@pytest.mark.parametrize("name", PUBLIC)
def test_a_signature_fills_no_page(name):
    assert len(str(inspect.signature(getattr(refquant, name)))) < 80 * 24 / 2  # half a terminal


def test_the_stub_has_the_same_names_from_the_same_files():
    tree = ast.parse((ROOT / "refquant" / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    aliases = [(node.module, alias) for node in imports for alias in node.names]
    assert {alias.name: module for module, alias in aliases} == refquant._HOMES
    assert all(alias.asname == alias.name for _, alias in aliases)  # editors hide others
    (listed,) = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    assert sorted(ast.literal_eval(listed)) == sorted(refquant.__all__)


CLIENT = """
import refquant
model = refquant.load_model("demo")
reveal_type(model)
reveal_type(refquant.detect(model, "photo.jpg").scores)
reveal_type(refquant.audit(model).layers)
refquant.load_model(1)
refquant.nothing
"""
CHECKED = (
    r'Revealed type is "refquant.*\.Model"',
    r'Revealed type is "numpy.ndarray\[.*',
    r'Revealed type is ".*tuple\[refquant.*\.LayerAudit, ...\]"',
    r'error: Argument 1 to "load_model" has incompatible type "int".*',
    r'error: Module has no attribute "nothing".*',
)


@pytest.mark.slow
def test_a_type_checker_sees_the_types(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "client.py").write_text(CLIENT)
    options = ("--follow-imports=silent", "--config-file=", f"--cache-dir={tmp_path}")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "client.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    *lines, _ = done.stdout.splitlines()
    for line, pattern in zip(lines, CHECKED, strict=True):
        assert re.search(f"{pattern}$", line)
