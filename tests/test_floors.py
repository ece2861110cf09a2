"""Imports point down only: each module imports from its own room or from floors below."""

import ast
from pathlib import Path

import pytest

import refquant

ROOT = Path(refquant.__file__).parent
FLOORS = (
    ("arrays",),
    ("ops", "drawing"),  # rooms of one floor do not know each other
    ("graph",),
    ("engine",),
    ("quant",),
    ("formats", "auditing"),
    ("detection",),
    ("verification", "study"),
    ("cli",),
)
ROOMS = [room for floor in FLOORS for room in floor]
FILES = sorted(ROOT.rglob("*.py"))


def imported(source: str) -> set[str]:
    """Every module named refquant... that a source text imports, at any depth of nesting."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor"
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in names if name.split(".")[0] == "refquant"}


def allowed(room: str) -> set[str]:
    """The rooms that files of a room may import from, and what belongs to no floor."""
    number = next(i for i, floor in enumerate(FLOORS) if room in floor)
    return {other for floor in FLOORS[:number] for other in floor} | {room, "_version", "weights"}


def upward(room: str, source: str) -> list[str]:
    """The imports of a source text in `room` that point to another room, not below."""
    return [
        name
        for name in sorted(imported(source))
        if name.count(".") and name.split(".")[1] not in {*allowed(room), "__version__"}
    ]


def test_an_upward_import_is_found():
    assert upward("ops", "def f():\n    from refquant.graph.walk import walk") == [
        "refquant.graph.walk",
        "refquant.graph.walk.walk",
    ]
    assert upward("cli", "from refquant.graph.walk import walk") == []
    assert upward("study", "import refquant.verification.verify") != []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    parts = path.relative_to(ROOT).parts
    if len(parts) > 1:  # the package's own __init__ names the public API and imports on demand
        assert upward(parts[0], path.read_text()) == []


def test_every_folder_is_a_floor():
    folders = {path.relative_to(ROOT).parts[0] for path in FILES if path.parent != ROOT}
    assert folders - {"weights"} == set(ROOMS)


def module_of(path: Path) -> str:
    """The dotted name of a file, a package's for its `__init__`."""
    return ".".join(("refquant", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    )


def executed(name: str, modules: set[str]) -> set[str]:
    """The modules that an import of `name` runs: itself, and every package on the way to it."""
    parts = name.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts) + 1)} & modules


def circles(sources: dict[str, str]) -> list[set[str]]:
    """Sets of modules that import each other, in a ring of any length; imports in functions too.

    A module is in a ring with another if each can be reached from the other.
    """
    modules = set(sources)
    follows = {
        module: {other for name in imported(text) for other in executed(name, modules)} - {module}
        for module, text in sources.items()
    }
    reached = {}
    for module in modules:
        seen, edge = set(), [module]
        while edge:
            new = follows[edge.pop()] - seen
            seen |= new
            edge += new
        reached[module] = seen
    rings = {
        frozenset({module, *(other for other in reached[module] if module in reached[other])})
        for module in modules
        if module in reached[module]
    }
    return [set(ring) for ring in rings]


def test_no_files_import_each_other():
    assert circles({module_of(path): path.read_text() for path in FILES}) == []


def test_a_circle_is_found_at_any_length_and_through_a_package():
    ring = {f"refquant.a{i}": f"def f():\n    import refquant.a{(i + 1) % 5}" for i in range(5)}
    assert circles(ring) == [set(ring)]
    assert circles(ring | {"refquant.a4": ""}) == []
    package = {
        "refquant.p": "from refquant.p.one import x",
        "refquant.p.one": "from refquant.p.two import y",
        "refquant.p.two": "",
    }
    assert circles(package) == [{"refquant.p", "refquant.p.one"}]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_begins_with_its_lesson(path):
    assert ast.get_docstring(ast.parse(path.read_text()))
