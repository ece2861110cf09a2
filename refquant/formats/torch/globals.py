"""The names that a checkpoint's pickle may use, and what each becomes here: nothing that can run.

    models.*, torch.nn.modules.*            a class of the network: an Instance, attributes alone
    torch._utils._rebuild_tensor_v2 ...     a Tensor: a storage, an offset, a size, strides
    torch.HalfStorage ...                   the type of the numbers in a storage
    collections.OrderedDict, set            a dict, a list
    getattr                                 a BoundMethod: its name; the attribute is not looked up
    numpy.*, pathlib.* ...                  Ignored: the fitness, the options of the training run

Every other name is refused. A persistent id is ("storage", type, key, location, numel). That numel
and a Tensor's offset and strides count elements, not bytes.
Source  the names in files written by the public training code with PyTorch 1.7 to 2.13.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from refquant.arrays.errors import BadInput
from refquant.formats.torch.pickle_machine import Global, Ignored, Instance


class Storage(NamedTuple):
    """A stretch of numbers outside of the pickle: its type by name, its key, its length."""

    type: str
    key: str
    numel: int


class Tensor(NamedTuple):
    """A view of a storage; nothing about it is checked yet."""

    storage: Storage
    offset: Any
    size: Any
    stride: Any


class BoundMethod(NamedTuple):
    """A method as an attribute: fused models have `forward` replaced by "fuseforward"."""

    name: str


STORAGE_TYPES = (
    *("HalfStorage", "FloatStorage", "DoubleStorage", "BFloat16Storage", "BoolStorage"),
    *("LongStorage", "IntStorage", "ShortStorage", "CharStorage", "ByteStorage"),
)
PATHS = ("PosixPath", "WindowsPath", "_local.PosixPath", "_local.WindowsPath")  # Python 3.13's too
MAX_KEY = 64  # characters of a storage's key: at most 20 decimal digits in checkpoints
CLASSES = ("models.", "torch.nn.modules.")


def tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A Tensor; requires_grad, hooks and metadata are of no use here."""
    if type(storage) is not Storage:
        raise BadInput("pickle", "a tensor without a storage")
    return Tensor(storage, offset, size, stride)


def parameter(value: Any, *_: Any) -> Tensor:
    """A parameter is its tensor."""
    if type(value) is not Tensor:
        raise BadInput("pickle", "a parameter without a tensor")
    return value


def a_list(values: Any = None) -> list[Any]:
    """A set: the list that it was made of, not copied."""
    if values is not None and type(values) is not list:
        raise BadInput("pickle", f"a set of {type(values).__name__}")
    return [] if values is None else values


def a_size(values: Any) -> tuple[Any, ...]:
    if type(values) is not tuple:
        raise BadInput("pickle", f"torch.Size of {type(values).__name__}")
    return values


def bound_method(target: Any, name: Any) -> BoundMethod:
    """getattr(target, name), as a note."""
    if type(target) is not Instance or type(name) is not str:
        raise BadInput("pickle", "getattr of something other than a module's method")
    return BoundMethod(name)


def _ignored(name: str, *arguments: int) -> Global:
    return Global(name, lambda *_: Ignored(name), arguments)


def _globals(
    *names: str, make: Callable[..., Any] | None, arguments: tuple[int, ...]
) -> list[Global]:
    """Several names of one kind; without `make` and arguments none of them can be called."""
    return [Global(name, make, arguments) for name in names]


ALLOWED = {
    known.name: known
    for known in (
        Global("torch._utils._rebuild_tensor", tensor, (4,)),
        Global("torch._utils._rebuild_tensor_v2", tensor, (6, 7)),
        Global("torch._utils._rebuild_parameter", parameter, (3,)),
        Global("torch._utils._rebuild_parameter_with_state", parameter, (4,)),
        *_globals(*(f"torch.{name}" for name in STORAGE_TYPES), make=None, arguments=()),
        Global("torch.Size", a_size, (1,)),
        Global("collections.OrderedDict", dict, (0,)),
        *_globals("__builtin__.set", "builtins.set", make=a_list, arguments=(0, 1)),
        *_globals("__builtin__.getattr", "builtins.getattr", make=bound_method, arguments=(2,)),
        _ignored("torch.device", 1, 2),
        _ignored("_codecs.encode", 2),
        _ignored("numpy.ndarray"),
        _ignored("numpy.dtype", 1, 3),
        _ignored("numpy.core.multiarray._reconstruct", 3),
        _ignored("numpy._core.multiarray._reconstruct", 3),
        _ignored("numpy.core.multiarray.scalar", 2),
        _ignored("numpy._core.multiarray.scalar", 2),
        *(_ignored(f"pathlib.{name}", *range(32)) for name in PATHS),
    )
}


def resolve(name: str) -> Global:
    """What a name stands for; BadInput names what a checkpoint has no use for."""
    if name in ALLOWED:
        return ALLOWED[name]
    if name.startswith(CLASSES):
        return Global(name, lambda: Instance(name), (0,))
    raise BadInput(
        "pickle",
        f"it asks for {name!r}, which no checkpoint needs",
        "nothing was run; do not open this file with PyTorch unless you trust its author",
    )


def load(reference: Any) -> Storage:
    """The Storage that a persistent id names."""
    if type(reference) is tuple and len(reference) == 5:
        word, kind, key, _, numel = reference
        known = type(kind) is Global and kind.name.removeprefix("torch.") in STORAGE_TYPES
        whole = type(numel) is int and numel >= 0
        if word == "storage" and known and whole and type(key) is str and len(key) <= MAX_KEY:
            return Storage(kind.name.removeprefix("torch."), key, numel)
    raise BadInput("pickle", "a persistent id that is not a storage's")
