"""Declarations that a verdict is tried under, and which of two allows what the other does."""

from collections.abc import Mapping

from refquant.verification.declared import FLOAT_TYPES, Declared

DECLARED: Mapping[str, Declared] = {
    "nothing": Declared(),
    "flush": Declared(flush=True),
    "any algorithm": Declared(algorithm="any"),
    "not folded": Declared(folded=False),
    "sigmoid 0.001": Declared(sigmoid=(1e-3, 4.0)),
    "tf32 sums": Declared(accumulator="tf32"),
    "float16 stored": Declared(storage="float16"),
    "bfloat16 stored": Declared(storage="bfloat16"),
    "float16 sums": Declared(accumulator="float16"),
    "bfloat16 sums": Declared(accumulator="bfloat16"),
    "float16": Declared(storage="float16", accumulator="float16"),
    "bfloat16": Declared(storage="bfloat16", accumulator="bfloat16"),
    "float16, any": Declared("float16", "float16", "any"),
    "everything": Declared("bfloat16", "bfloat16", "any", False, True, (1e-3, 4.0)),
}
RANK = {"consistent": 0, "undecided": 1, "implausible": 2, "wrong": 2}


def narrower(a: Declared, b: Declared) -> bool:
    """Whether whatever a allows, b allows too."""
    types = [
        (FLOAT_TYPES[getattr(a, key)], FLOAT_TYPES[getattr(b, key)])
        for key in ("storage", "accumulator")
    ]
    return (
        all(p.u <= q.u and p.tiny <= q.tiny and p.largest >= q.largest for p, q in types)
        and (a.algorithm == "direct" or b.algorithm == "any")
        and a.folded >= b.folded
        and a.flush <= b.flush
        and all(p <= q for p, q in zip(a.sigmoid, b.sigmoid, strict=True))
    )
