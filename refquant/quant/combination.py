"""Combinations: a granularity for every layer, chosen from a few; three readings of one word.

The paper reports its best results for "a combination of granularities" and does not say how it was
chosen. E(l, m) is the squared error of layer l with member m, and g(l, m) is its number of groups.
All weights of a combination have the same scheme and bits, so groups stand for bytes.

    filter+f-shape+c-shape               every layer the member of least E; ties: fewest g  (1)
    filter+f-shape+c-shape:budget=3.92   least sum of E with sum of g <= B, the optimum     (2)
    filter+f-shape+c-shape:greedy=3.92   from the first member on, the change that saves most
                                         error per added group, as long as one fits into B  (3)

B is the number of groups that a model may have if it is to be 3.92 times smaller than its unfolded
self in FP16, counted in the paper's way (choices.py, accounting.py).
(2) is a knapsack with one choice per layer, solved by dynamic programming over the groups spent:
    best(l, b) = min over m of best(l-1, b - g(l, m)) + E(l, m)                  (4)
Source  the paper, Baghbanbashi et al. 2023, arXiv 2407.04943, for the word; the readings are ours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from refquant.arrays.errors import BadInput
from refquant.quant.granularity import find_granularity

READINGS = ("least", "budget", "greedy")
FORM = "write filter+f-shape+c-shape, and :budget=3.92 or :greedy=3.92 behind it for a total"


class Combination(NamedTuple):
    """Members by name, the reading, and the saving against FP16, 0 for the reading `least`."""

    members: tuple[str, ...]
    reading: str = "least"
    saving: float = 0.0


class Option(NamedTuple):
    """What a member would mean for a layer: squared error and groups."""

    granularity: str
    error: float
    groups: int


Layers = Sequence[Sequence[Option]]


def find_combination(text: str) -> Combination | None:
    """The combination that a granularity's name spells, None if it is a single granularity."""
    reading = "budget" if ":budget=" in text else "greedy"
    names, total, suffix = text.partition(f":{reading}=")
    members = tuple(find_granularity(name).name for name in names.split("+"))
    if not total:
        return Combination(members) if len(members) > 1 else None
    try:
        saving = float(suffix)
    except ValueError:
        saving = 0.0
    if not 1 < saving < 100:
        raise BadInput(f"granularity={text!r}", f"{suffix!r} is not between 1 and 100", FORM)
    return Combination(members, reading, saving)


def least(options: Sequence[Option]) -> Option:
    """Equation (1)."""
    return min(options, key=lambda option: (option.error, option.groups))


def within_budget(layers: Layers, most_groups: int) -> list[Option]:
    """Equations (2) and (4): one option per layer."""
    cheapest = [min(option.groups for option in options) for options in layers]
    room = most_groups - sum(cheapest)
    check_room(room, most_groups)
    room = min(room, sum(max(o.groups for o in options) for options in layers) - sum(cheapest))
    best = np.zeros(room + 1)
    choices = np.zeros((len(layers), room + 1), np.int16)
    for l, (options, low) in enumerate(zip(layers, cheapest, strict=True)):
        before, best = best, np.full(room + 1, np.inf)
        for m in sorted(range(len(options)), key=lambda m: options[m].groups):
            spent = options[m].groups - low
            if spent > room:
                continue
            total = before[: room + 1 - spent] + options[m].error  # (4)
            wins = total < best[spent:]
            best[spent:][wins] = total[wins]
            choices[l, spent:][wins] = m
    chosen, left = [], room
    for l in range(len(layers) - 1, -1, -1):
        option = layers[l][choices[l, left]]
        chosen.append(option)
        left -= option.groups - cheapest[l]
    return chosen[::-1]


def greedily(layers: Layers, most_groups: int) -> list[Option]:
    """Equation (3): one option per layer."""
    chosen = [options[0] for options in layers]
    while True:
        left = most_groups - sum(option.groups for option in chosen)
        changes = [
            (gain(old, new), -l, new)
            for l, (old, options) in enumerate(zip(chosen, layers, strict=True))
            for new in options
            if new.error < old.error and new.groups - old.groups <= left
        ]
        if not changes:
            check_room(left, most_groups)
            return chosen
        _, l, new = max(changes)
        chosen[-l] = new


def gain(old: Option, new: Option) -> float:
    """Error saved per added group; infinite where no group is added."""
    added = new.groups - old.groups
    return (old.error - new.error) / added if added > 0 else np.inf


def check_room(room: int, most_groups: int) -> None:
    """Refuse a saving that leaves fewer groups than the smallest choice needs."""
    if room < 0:
        needed, most_groups = most_groups - room, max(most_groups, 0)
        raise BadInput(
            "combination",
            f"the saving leaves room for {most_groups} groups, {needed} are needed",
            "choose a smaller saving, fewer bits, or a coarser member",
        )


READERS = {"budget": within_budget, "greedy": greedily}
