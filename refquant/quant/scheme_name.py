"""The full name of a scheme: which scheme, which of its options, and whether it is corrected.

    name = base [ ":" option ] [ "+bc" ]

    affine            the scheme, with its default way to choose parameters
    affine:minmax     the scheme with one of its options, another way to choose parameters
    affine:mse+bc     the same with bias correction (bias_correction.py)

This is the only file that knows the grammar; whether there is such a scheme is for schemes.py.

    >>> SchemeName.parse("affine:mse+bc")
    SchemeName(base='affine', option='mse', corrected=True)
    >>> str(SchemeName("pwlq", corrected=True))
    'pwlq+bc'
"""

from typing import NamedTuple

from refquant.arrays.errors import BadInput

COLON = ":"
SUFFIX = "+bc"


class SchemeName(NamedTuple):
    """A parsed name; `option` is "" for the default way, and `str` gives the name back."""

    base: str
    option: str = ""
    corrected: bool = False

    @classmethod
    def parse(cls, text: str) -> "SchemeName":
        """The parts of a name. An empty option, and a second correction, are refused."""
        plain = text.removesuffix(SUFFIX)
        if plain.endswith(SUFFIX):
            raise BadInput(f"scheme={text!r:.60}", "is corrected twice", f"one {SUFFIX} is enough")
        base, colon, option = plain.partition(COLON)
        if colon and not option:
            raise BadInput(f"scheme={text!r:.60}", "names no option", f"leave out the {COLON!r}")
        return cls(base, option, plain != text)

    def __str__(self) -> str:
        option = f"{COLON}{self.option}" if self.option else ""
        return f"{self.base}{option}{SUFFIX if self.corrected else ''}"
