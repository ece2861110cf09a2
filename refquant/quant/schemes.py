"""SCHEMES, the catalogue: one line per scheme; and `find_scheme`, which understands a full name.

affine            the scheme and its default way to choose parameters
affine:minmax     with one of its options
affine:mse+bc     and with bias correction
"""

from refquant.arrays.errors import BadInput
from refquant.arrays.table import Table
from refquant.quant.affine import AFFINE
from refquant.quant.bias_correction import SUFFIX, corrected
from refquant.quant.lloyd_max import LLOYD_MAX
from refquant.quant.power_of_two import POWER_OF_TWO
from refquant.quant.pwlq import PWLQ
from refquant.quant.pwlq_code import PWLQ_CODE
from refquant.quant.pwlq_eq3 import PWLQ_EQ3
from refquant.quant.pwlq_overlap import PWLQ_OVERLAP
from refquant.quant.scheme import Scheme
from refquant.quant.symmetric import SYMMETRIC

SCHEMES = Table(
    "scheme",
    (
        AFFINE,
        SYMMETRIC,
        PWLQ,
        PWLQ_EQ3,
        PWLQ_CODE,
        PWLQ_OVERLAP,
        LLOYD_MAX,
        POWER_OF_TWO,
    ),
)


def find_scheme(name: str | Scheme) -> Scheme:
    """The scheme of that name, with its option and correction; an unknown name lists choices."""
    if isinstance(name, Scheme):
        return name
    if name.endswith(SUFFIX):
        return corrected(find_scheme(name.removesuffix(SUFFIX)))
    base, colon, option = name.partition(":")
    scheme = SCHEMES[base]
    if not colon:
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
