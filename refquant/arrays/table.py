"""A catalogue: an explicit, ordered, read-only map from a name to an item that carries that name.

SCHEMES, GRANULARITIES, OPS, FORMATS and ARCHITECTURES are tables. One entry puts a thing into the
tests, the audit, the command line and the bench; nothing is registered by being imported.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

from refquant.arrays.errors import BadInput


class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


class Table(Mapping[str, T]):
    """`Table("scheme", (affine, symmetric))["affine"]`; an unknown name lists the choices."""

    def __init__(self, what: str, items: Iterable[T]) -> None:
        self.what = what
        self._items = {item.name: item for item in items}

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            raise BadInput(f"{self.what}={name!r}", f"choose {' | '.join(self._items)}")
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
