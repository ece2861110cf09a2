"""The answer to a command line that cannot be read: two lines, and exit code 2.

    usage: refquant export model -o OUTPUT [options] (--help has examples)
    refquant export: error: unrecognized arguments: m.onnx: name the file to write with -o: ...

The first line has only what a verb must be given. The second has argparse's complaint and, where
hints.py knows one, a hint. argparse itself would print all options and no hint.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from refquant.arrays.errors import printable

if TYPE_CHECKING:
    from refquant.cli.hints import Mistake

FORMS = {  # what an option's value must be, by the name of the function that reads it
    "int": "a whole number",
    "float": "a number",
    "positive": "a whole number of at least 1",
    "seed": "a whole number of at least 0",
    "fraction": "a number from 0 to 1",
    "widths": "a list of whole numbers, such as 8,6,4",
}


class WrongUsage(Exception):
    """A parser's complaint; `extra` are the words for which it had no place."""

    def __init__(self, parser: "Parser", complaint: str, extra: Sequence[str] = ()) -> None:
        super().__init__(complaint)
        self.parser, self.complaint, self.extra = parser, complaint, tuple(extra)


class Parser(argparse.ArgumentParser):
    """argparse's parser, which raises its complaint instead of printing it."""

    verbs: Mapping[str, "Parser"] = {}

    def error(self, message: str) -> NoReturn:
        raise WrongUsage(self, message)


def parsed(top: Parser, words: Sequence[str]) -> argparse.Namespace:
    """The options that the words name; leaves with exit code 2 where they cannot be read."""
    try:
        options, extra = top.parse_known_args(words)
        if extra:
            complaint = f"unrecognized arguments: {' '.join(extra)}"
            raise WrongUsage(top.verbs[options.verb], complaint, extra)
        return options
    except WrongUsage as wrong:
        print(answer(top, wrong, words), file=sys.stderr)
    raise SystemExit(2)


def answer(top: Parser, wrong: WrongUsage, words: Sequence[str]) -> str:
    """Both lines. The words may be names of a stranger's files: see printable."""
    from refquant.cli.hints import hint

    found = hint(mistake_of(top, wrong, words))
    error = f"{wrong.parser.prog}: error: {in_words(wrong.complaint)}"
    return f"{usage(wrong.parser)}\n{printable(f'{error}: {found}' if found else error)}"


def usage(parser: Parser) -> str:
    """What must be given, in one line."""
    if parser.verbs:
        return f"usage: {parser.prog} VERB ... (--help lists the verbs)"
    names = [shown(action) for action in parser._actions if action.required]
    return " ".join(["usage:", parser.prog, *names, "[options] (--help has examples)"])


def shown(action: argparse.Action) -> str:
    """A required argument, as argparse shows it."""
    flag = "".join(action.option_strings[:1])
    return f"{flag} {action.dest.upper()}" if flag else action.dest


def in_words(complaint: str) -> str:
    """argparse's complaint without the names of our functions and without the list of verbs."""
    verb = re.match(r"argument VERB: invalid choice: ('.*') \(choose", complaint, re.DOTALL)
    if verb:
        return f"there is no verb {verb[1]}"
    head, _, tail = complaint.partition(": invalid ")
    kind, separator, value = tail.partition(" value: ")
    return f"{head}: {value} is not {FORMS[kind]}" if separator and kind in FORMS else complaint


def mistake_of(top: Parser, wrong: WrongUsage, words: Sequence[str]) -> "Mistake":
    """The facts by which a hint is found."""
    from refquant.cli.hints import Mistake

    parser, verb = wrong.parser, wrong.parser.prog.partition(" ")[2]
    given = words[words.index(verb) + 1 :] if verb in words else words
    plain = plain_words(parser, given)
    places = sum(not action.option_strings for action in parser._actions)
    return Mistake(
        verb=verb,
        complaint=wrong.complaint,
        words=given,
        plain=plain,
        surplus=[w for w in wrong.extra if not w.startswith("-")] or plain[places:],
        options={name: list(p._option_string_actions) for name, p in top.verbs.items()},
        example=example_of(parser),
    )


def example_of(parser: Parser) -> str:
    """The first example of the verb's help, without the comment behind it."""
    found = re.search(r"^  (\S.*?)(?:  |$)", parser.epilog or "", re.MULTILINE)
    return found[1] if found else ""


def plain_words(parser: Parser, words: Sequence[str]) -> list[str]:
    """The words that are neither options nor the values of options that the parser knows."""
    plain, values = [], 0
    for word in words:
        if word.startswith("-"):
            action = parser._option_string_actions.get(word)
            values = 0 if action is None else values_of(action)
        elif values:
            values -= 1
        else:
            plain.append(word)
    return plain


def values_of(action: argparse.Action) -> int:
    """How many words an option takes at most."""
    if action.nargs is None:
        return 1
    return action.nargs if isinstance(action.nargs, int) else sys.maxsize
