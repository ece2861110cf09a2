"""SCHEMES, the catalogue: one line per scheme; `find_scheme` understands a full name."""

from refquant.arrays.errors import BadInput
from refquant.arrays.table import Table
from refquant.quant.affine import AFFINE
from refquant.quant.bias_correction import corrected
from refquant.quant.lloyd_max import LLOYD_MAX
from refquant.quant.power_of_two import POWER_OF_TWO
from refquant.quant.pwlq import PWLQ
from refquant.quant.pwlq_code import PWLQ_CODE
from refquant.quant.pwlq_eq3 import PWLQ_EQ3
from refquant.quant.pwlq_overlap import PWLQ_OVERLAP
from refquant.quant.scheme import Scheme
from refquant.quant.scheme_name import SchemeName
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
    """The scheme of a full name (scheme_name.py); an unknown name is refused with the choices."""
    if isinstance(name, Scheme):
        return name
    base, option, with_correction = SchemeName.parse(name)
    scheme = SCHEMES[base]
    if option:
        if option not in scheme.options:
            choices = " | ".join((base, *(f"{base}:{key}" for key in scheme.options)))
            raise BadInput(f"scheme={name!r}", f"choose {choices}")
        full = str(SchemeName(base, option))
        scheme = scheme._replace(name=full, choose_params=scheme.options[option], options={})
    return corrected(scheme) if with_correction else scheme


def every_scheme() -> tuple[Scheme, ...]:
    """All schemes with all their options, in the catalogue's order: what sweeps iterate over."""
    return tuple(
        find_scheme(str(SchemeName(scheme.name, option)))
        for scheme in SCHEMES.values()
        for option in ("", *scheme.options)
    )
