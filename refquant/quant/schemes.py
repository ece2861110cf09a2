"""SCHEMES, the catalogue: one line per scheme; and `find_scheme`, which understands options.

affine            the scheme and its default way to choose parameters
affine:minmax     the scheme with one of its options
"""

from refquant.arrays.errors import BadInput
from refquant.arrays.table import Table
from refquant.quant.affine import AFFINE
from refquant.quant.scheme import Scheme
from refquant.quant.symmetric import SYMMETRIC

SCHEMES = Table(
    "scheme",
    (
        AFFINE,
        SYMMETRIC,
    ),
)


def find_scheme(name: str | Scheme) -> Scheme:
    """The scheme of that name, its option chosen; an unknown name lists the choices."""
    if isinstance(name, Scheme):
        return name
    base, _, option = name.partition(":")
    scheme = SCHEMES[base]
    if not option:
        return scheme
    if option not in scheme.options:
        choices = " | ".join((base, *(f"{base}:{key}" for key in scheme.options)))
        raise BadInput(f"scheme={name!r}", f"choose {choices}")
    return scheme._replace(name=name, choose_params=scheme.options[option], options={})


def every_scheme() -> tuple[Scheme, ...]:
    """All schemes with all their options, in the catalogue's order: what sweeps iterate over."""
    names = [
        name
        for scheme in SCHEMES.values()
        for name in (scheme.name, *(f"{scheme.name}:{option}" for option in scheme.options))
    ]
    return tuple(find_scheme(name) for name in names)
