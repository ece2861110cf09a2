"""Which parts of Numba are used that it does not document, so that a new use is noticed.

Numba documents `numba` itself and `numba.extending`. Whatever else is used may change in any
release, and is to be looked at before setup.cfg allows a newer one.
"""

import ast
from pathlib import Path

import pytest

import refquant

FILES = sorted(Path(refquant.__file__).parent.rglob("*.py"))
DOCUMENTED = ("numba", "numba.extending")
# Variables of the package that hold what Numba hands out.
HANDED_OUT = {"context", "jitted", "made", "what"}

IMPORTS = {
    "numba.core.cgutils",
    "numba.core.event",
    "numba.core.typeconv.Conversion",
    "numba.core.typing.templates.ConcreteTemplate",
    "numba.core.typing.templates.infer_global",
    "numba.core.typing.templates.signature",
}
ATTRIBUTES = {
    "Conversion.safe",
    "cgutils.get_or_insert_function",
    "context.get_dummy_value",
    "context.get_value_type",
    "event.Listener",
    "event.register",
    "jitted.inspect_llvm",
    "jitted.overloads.items",
    "made.fndesc.llvm_func_name.encode",
    "models.PrimitiveModel",
    "types.NamedUniTuple",
    "types.Type",
    "types.boolean",
    "types.float32",
    "types.int64",
    "types.void",
    "what.data.get",
}
OPTIONS = {
    *("cache", "error_model", "forceinline", "inline", "nogil"),
    *("no_cfunc_wrapper", "no_cpython_wrapper"),
}


def numba_imports(tree: ast.AST) -> set[str]:
    """The dotted names of everything that a source text imports from Numba."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name for name in names if name.split(".")[0] == "numba"}


def undocumented_imports(text: str) -> set[str]:
    """Those that come from elsewhere than DOCUMENTED."""
    return {n for n in numba_imports(ast.parse(text)) if n.rpartition(".")[0] not in DOCUMENTED}


def attributes(text: str) -> set[str]:
    """`a.b.c` where `a` was imported from Numba or handed out by it, in a file that imports it."""
    tree = ast.parse(text)
    imported = {name.rpartition(".")[2] for name in numba_imports(tree)}
    if not imported:
        return set()
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    chains = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and id(node) not in inner
    }
    return {chain for chain in chains if chain.split(".")[0] in imported | HANDED_OUT}


def options(text: str) -> set[str]:
    """The options of Numba's decorator: keywords of `njit`, and of dicts that are given to it."""
    tree = ast.parse(text)
    calls = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "njit"
    ]
    words = {keyword.arg for call in calls for keyword in call.keywords if keyword.arg}
    given = {ast.unparse(k.value) for call in calls for k in call.keywords if not k.arg}
    given.add("OPTIONS")
    for node in ast.walk(tree):
        of_dict = isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        if of_dict and given.intersection(map(ast.unparse, node.targets)):
            words.update(ast.literal_eval(key) for key in node.value.keys)
    return words


@pytest.mark.parametrize(
    ("read", "listed"),
    [(undocumented_imports, IMPORTS), (attributes, ATTRIBUTES), (options, OPTIONS)],
)
def test_the_parts_of_numba_that_are_used_are_those_listed(read, listed):
    engine = [path.read_text() for path in FILES if path.parent.name == "engine"]
    assert set().union(*map(read, engine)) == listed


def test_numba_is_imported_in_the_engine_alone():
    users = {path.parent.name for path in FILES if numba_imports(ast.parse(path.read_text()))}
    assert users == {"engine"}


def test_a_new_use_would_be_noticed():
    text = "from numba import njit\nfrom numba.core import cgutils, ir\n"
    assert undocumented_imports(text) - IMPORTS == {"numba.core.ir"}
    assert undocumented_imports("import numba.core.ir") - IMPORTS == {"numba.core.ir"}
    assert attributes(text + "cgutils.alloca_once(1)\ncontext.cast(2)") - ATTRIBUTES == {
        "cgutils.alloca_once",
        "context.cast",
    }
    assert options("more = {'boundscheck': True}\nnjit(f, fastmath=True, **more)") - OPTIONS == {
        "boundscheck",
        "fastmath",
    }
