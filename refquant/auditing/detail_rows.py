"""The rows of detail.py: a group of weights, the weights of one code, a single weight.

Levels, bounds and errors are in units of the weights. The keys of `to_json` are those of
`refquant audit --layer NAME --json`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from refquant.quant.scheme import Step

Json = dict[str, Any]


@dataclass(frozen=True)
class CodeAudit:
    """The weights of one group that have the same code.

    Parameters
    ----------
    code : int
        The code.
    level : float or None
        What the code decodes to; None where that is not finite.
    count : int
        The number of weights.
    lowest, highest : float or None
        The least and the greatest of the original weights; None where they are not known, or
        where there is none.
    """

    code: int
    level: float | None
    count: int
    lowest: float | None = None
    highest: float | None = None

    def to_json(self) -> Json:
        """Give the row as a plain dictionary, without what is not known of the weights."""
        return known(vars(self), ("lowest", "highest"))


@dataclass(frozen=True)
class GroupAudit:
    """The weights that share their parameters.

    Parameters
    ----------
    group : int
        The number of the group.
    where : str
        Its place along the axes that it keeps, such as "f 3, block 5".
    bound : float or None
        The proven bound of its errors; None where there is none.
    params : mapping of str to float or list of float
        Its parameters by name, such as "scale".
    lowest, highest : float or None
        The least and the greatest of the original weights, where these are known.
    max_error, mse : float or None
        The largest and the mean squared error, where the original weights are known.
    codes : tuple of CodeAudit
        One row per code; empty where they were not asked for.
    """

    group: int
    where: str
    bound: float | None
    params: Mapping[str, float | list[float]]
    lowest: float | None = None
    highest: float | None = None
    max_error: float | None = None
    mse: float | None = None
    codes: tuple[CodeAudit, ...] = ()

    def to_json(self) -> Json:
        """Give the row as a plain dictionary, the parameters among its keys."""
        row = {"group": self.group, "where": self.where, "bound": self.bound, **self.params}
        errors = {key: getattr(self, key) for key in ("lowest", "highest", "max_error", "mse")}
        codes = {"codes": [row.to_json() for row in self.codes]} if self.codes else {}
        return {**row, **known(errors, errors), **codes}


@dataclass(frozen=True)
class WeightAudit:
    """One weight: every step from its float to its code and back.

    Parameters
    ----------
    weight : tuple of int
        Its place f, c, r, s.
    group : int
        The number of its group.
    where : str
        The place of the group.
    stored_bits : int
        The bits that its code takes.
    code_in_binary : str
        The code as it is stored, in that many binary digits.
    steps : tuple of Step
        The symbol, value and equation of every intermediate number.
    """

    weight: tuple[int, ...]
    group: int
    where: str
    stored_bits: int
    code_in_binary: str
    steps: tuple[Step, ...]

    def to_json(self) -> Json:
        """Give the record as a plain dictionary."""
        steps = [step._asdict() for step in self.steps]
        return {**vars(self), "weight": list(self.weight), "steps": steps}


def known(row: Mapping[str, Any], keys: Collection[str]) -> Json:
    """The row without those of the keys whose value is None."""
    return {key: value for key, value in row.items() if key not in keys or value is not None}
