"""Machine code that outlives the process that compiled it, so that a warm start loads no compiler.

Numba keeps compiled functions on disk too, but it takes all of Numba to use them, and Numba makes
itself ready to compile (bench/speed/start.md says what that costs). So the function that runs
models (work_kernel.py) is kept as an object file, which LLVM's linker alone can load:

    32 bytes    sha256 of what follows
    a name      which the function has in the object file, in ASCII, and a zero byte
    the rest    the object file, which LLVM has made for this CPU

The file's name carries a hash of all on which the code depends (the kernels' text, the versions of
Numba and LLVM, the CPU), so it is never out of date. The file lies in the first of these folders
in which one can write, as Numba's own files do; if there is none, every process compiles anew:

    the folder NUMBA_CACHE_DIR, and no other if that is set
    __pycache__ beside this file
    refquant in the user's cache folder, $XDG_CACHE_HOME or ~/.cache

These files are executed, like Python's in __pycache__: who may write there may do everything.

The parts of Numba that are not its documented interface are listed in
tests/engine/test_numba_parts.py.
"""

import ctypes
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from refquant.arrays.atomic import atomic_path
from refquant.arrays.errors import BadInput
from refquant.engine.compiled import FOLDER, OPTIONS, announce, digest_of_parts
from refquant.engine.tiles import cpu_name_and_features


class Code(NamedTuple):
    """A function ready to be called, which releases the GIL.

    compiled   whether this process had to compile it
    folder     the folder in which it is kept, "" if there is none
    linker     the owner of the memory in which the function lies
    """

    call: Callable[..., int]
    compiled: bool
    folder: str
    linker: Any


_loaded: dict[str, Code] = {}
_lock = threading.Lock()


def code_of(module: str, name: str, arguments: int) -> Code:
    """The function `name` of a module of kernels: `arguments` int64 -> int64.

    The module is imported, and Numba with it, only if the function has to be compiled.
    """
    with _lock:
        if name not in _loaded:
            file = f"{name}-{digest_of_parts()}.o"
            _loaded[name] = kept(file, arguments) or compiled(module, name, file, arguments)
        return _loaded[name]


def folders() -> Iterator[Path]:
    """The folders in which the code may be kept, the best first."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(os.environ["NUMBA_CACHE_DIR"])
        return
    yield FOLDER / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "refquant")


def kept(file: str, arguments: int) -> Code | None:
    """The function from disk, if it is there and whole."""
    for folder in folders():
        try:
            content = (folder / file).read_bytes()
        except OSError:
            continue
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            return linked(content[32:], arguments, False, str(folder))
    return None


def compiled(module: str, name: str, file: str, arguments: int) -> Code:
    """The function, compiled now, and kept where that is possible."""
    announce()
    content = object_file(getattr(import_module(module), name), arguments)
    for folder in folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(folder / file) as temporary:
                temporary.write_bytes(hashlib.sha256(content).digest() + content)
        except (OSError, BadInput):
            continue
        return linked(content, arguments, True, str(folder))
    return linked(content, arguments, True, "")


def object_file(function: Any, arguments: int) -> bytes:
    """The name and the object file of a Python function of int64, compiled."""
    import llvmlite.binding as llvm
    from numba import int64, njit

    kind = int64(*[int64] * arguments)
    # Wrappers for callers in Python or C would need Numba's own library.
    alone = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    jitted = njit(kind, **alone, **OPTIONS)(function)
    ((signature, made),) = jitted.overloads.items()
    cpu, features = cpu_name_and_features()
    # Numba's own code loads the address of every constant first. Here constants are found relative
    # to the code, which takes SiLU from 18 to 13 cycles per 16 numbers (Emerald Rapids).
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small"
    )
    code = machine.emit_object(llvm.parse_assembly(jitted.inspect_llvm(signature)))
    return made.fndesc.llvm_func_name.encode() + b"\0" + bytes(code)


def linked(content: bytes, arguments: int, compiled: bool, folder: str) -> Code:
    """Load an object file, before which stands its function's name."""
    import llvmlite.binding as llvm

    name, _, code = content.partition(b"\0")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    linker = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    linker.add_object_file(llvm.ObjectFileRef.from_data(code))
    linker.finalize_object()
    address = linker.get_function_address(name.decode())
    function = ctypes.CFUNCTYPE(
        ctypes.c_int32, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * arguments
    )(address)

    def call(*numbers: int) -> int:
        # Numba's convention is to give addresses for the result and for an error, which kernels
        # never raise.
        result, error = ctypes.c_int64(), ctypes.c_void_p()
        function(ctypes.addressof(result), ctypes.addressof(error), *numbers)
        return result.value

    return Code(call, compiled, folder, linker)
