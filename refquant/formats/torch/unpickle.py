"""Reading a pickle as data: an interpreter of its opcodes that imports nothing and calls nothing.

A pickle is a program for a small machine. Python's own reader lets that program import any
function and call it, so that opening a file is running it. This one does neither: a name in the
pickle is looked up in a table of ours (`resolve`), and what the table does not hold is refused.

    GLOBAL module name          push resolve("module.name"), a Global
    REDUCE, NEWOBJ              Global, arguments -> Global.make(*arguments), a function of ours
    BUILD                       Instance, state -> the Instance with state as its attributes
    BINPERSID                   reference -> load(reference): what lies outside of the pickle

A file from a stranger must not exhaust memory or time either. Every opcode costs a bounded amount,
since none copies a value that exists (BUILD keeps the dictionary that it is given), and nothing
recurses, so that the nesting of the data does not matter. The constants below bound the rest.

Source  The opcodes as Python's `pickletools` documents them; those that occur in checkpoints.
"""

import pickletools
from collections.abc import Callable
from typing import Any

from refquant.arrays.errors import BadInput
from refquant.formats.torch.pickle_machine import (
    COUNT,
    DOUBLE,
    INTEGER,
    LENGTH,
    MAX_NAME,
    SHORT,
    Global,
    Ignored,
    Instance,
    Machine,
)

# E6 in deploy form, the largest checkpoint measured, has 232,629 bytes and 96,420 opcodes. E6E has
# twice as many layers, and a file from the middle of a training run holds two models.
MAX_BYTES = 2**24
MAX_OPCODES = 3 * 2**18  # an opcode costs microseconds and, empty dictionaries, 54 bytes
MAX_STACK = 2**16  # Python's writer empties the stack every 1000 items
MAX_MARKS = 2**10  # containers under construction at once: below 40 in checkpoints
MAX_INTEGER_BYTES = 16  # the largest integer is the 80-bit signature of the legacy form
MAX_KEY = 2**31  # integer keys: without a limit they could be chosen to collide in a dictionary
MAX_PROTOCOL = 5
STOP = ord(".")

Resolve = Callable[[str], Global]
Load = Callable[[Any], Any]
Step = Callable[[Machine], None]


def unpickle(data: bytes, resolve: Resolve, load: Load, start: int = 0) -> tuple[Any, int]:
    """The value of the pickle that begins at `start`, and the position after its end.

    resolve(name) -> Global, or raises BadInput
    load(reference) -> the value that a persistent id stands for, or raises BadInput
    What is not a well-formed pickle of opcodes that checkpoints use raises BadInput.
    """
    if len(data) > MAX_BYTES:
        raise BadInput("pickle", f"{len(data)} bytes are more than {MAX_BYTES}")
    machine = Machine(data, start)
    steps = {**STEPS, **steps_outward(resolve, load)}
    by_number = {code[0]: step for code, step in steps.items()}
    for _ in range(MAX_OPCODES):
        code = machine.byte()
        if code == STOP:
            return machine.result(), machine.position
        if code not in by_number:
            machine.fail(f"opcode {opcode_name(code)} does not occur in checkpoints")
        by_number[code](machine)
        if len(machine.stack) > MAX_STACK or len(machine.marks) > MAX_MARKS:
            machine.fail("too many values or containers are open at once")
    raise BadInput("pickle", f"it has more than {MAX_OPCODES} opcodes")


def opcode_name(code: int) -> str:
    """An opcode as Python names it, such as "INST"; its number where it has no name."""
    names = {ord(op.code): op.name for op in pickletools.opcodes}
    return names.get(code, f"{code:#04x}")


def proto(machine: Machine) -> None:
    if machine.byte() > MAX_PROTOCOL:
        machine.fail(f"a protocol above {MAX_PROTOCOL}")


def frame(machine: Machine) -> None:
    if machine.number(COUNT) > len(machine.data) - machine.position:
        machine.fail("a frame is longer than the pickle")


def push_long(machine: Machine) -> None:
    length = machine.byte()
    if length > MAX_INTEGER_BYTES:
        machine.fail(f"an integer of {length} bytes")
    machine.push(int.from_bytes(machine.take(length), "little", signed=True))


def append(machine: Machine, values: list[Any]) -> None:
    machine.top(list).extend(values)


def set_items(machine: Machine, pairs: list[Any]) -> None:
    target = machine.top(dict)
    if len(pairs) % 2:
        machine.fail("a key without a value")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        # Only these: hashing a tuple recurses into it, and some floats hash alike.
        if type(key) not in (str, int, bool, type(None)):
            machine.fail(f"a dictionary key of type {type(key).__name__}")
        if type(key) is int and not -MAX_KEY <= key < MAX_KEY:
            machine.fail(f"a dictionary key of {key}")
        target[key] = value


def make(machine: Machine) -> None:
    target, arguments = machine.several(2)
    if type(target) is not Global or type(arguments) is not tuple:
        machine.fail("a call of what is no global")
    if len(arguments) not in target.arguments:
        machine.fail(f"{target.name} with {len(arguments)} arguments")
    machine.push(target.make(*arguments))


def build(machine: Machine) -> None:
    target, state = machine.several(2)
    if type(target) is Instance:
        if target.built or type(state) is not dict:
            machine.fail(f"the state of {target.name} is not one dictionary")
        target.attributes, target.built = state, True
    elif type(target) not in (dict, Ignored):  # a dictionary's state is a state_dict's _metadata
        machine.fail(f"a state for {type(target).__name__}")
    machine.push(target)


def steps_outward(resolve: Resolve, load: Load) -> dict[bytes, Step]:
    """The opcodes that ask for something outside of the pickle."""

    def push_global(machine: Machine, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            machine.fail("a global's name is no text")
        if len(module) + len(name) > 2 * MAX_NAME:
            machine.fail(f"a global's name of {len(module) + len(name)} characters")
        machine.push(resolve(f"{module}.{name}"))

    return {
        b"c": lambda m: push_global(m, m.line(), m.line()),
        b"\x93": lambda m: push_global(m, *m.several(2)),
        b"Q": lambda m: m.push(load(m.pop())),
    }


STEPS: dict[bytes, Step] = {
    b"\x80": proto,
    b"\x95": frame,
    b"(": Machine.mark,
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.byte()),
    b"M": lambda m: m.push(m.number(SHORT)),
    b"J": lambda m: m.push(m.number(INTEGER)),
    b"\x8a": push_long,
    b"G": lambda m: m.push(m.number(DOUBLE)),
    b"X": lambda m: m.push(m.text(m.number(LENGTH))),
    b"\x8c": lambda m: m.push(m.text(m.byte())),
    b"B": lambda m: m.push(m.take(m.number(LENGTH))),
    b"C": lambda m: m.push(m.take(m.byte())),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.push(tuple(m.several(1))),
    b"\x86": lambda m: m.push(tuple(m.several(2))),
    b"\x87": lambda m: m.push(tuple(m.several(3))),
    b"t": lambda m: m.push(tuple(m.items())),
    b"]": lambda m: m.push([]),
    b"a": lambda m: append(m, m.several(1)),
    b"e": lambda m: append(m, m.items()),
    b"\x8f": lambda m: m.push([]),  # a set is read as a list: nothing asks what it contains
    b"\x90": lambda m: append(m, m.items()),
    b"}": lambda m: m.push({}),
    b"s": lambda m: set_items(m, m.several(2)),
    b"u": lambda m: set_items(m, m.items()),
    b"R": make,
    b"\x81": make,
    b"b": build,
    b"q": lambda m: m.put(m.byte()),
    b"r": lambda m: m.put(m.number(LENGTH)),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"h": lambda m: m.get(m.byte()),
    b"j": lambda m: m.get(m.number(LENGTH)),
}
