"""The one error that a user can cause: bad input, told in one line.

A message has three parts: where (a file, a layer, an option), what value breaks which rule, and
the remedy. The command line prints it as one line and leaves with exit code 3.
"""


class BadInput(ValueError):
    """Input that breaks a rule. `str()` is one line: where, value and rule, remedy."""

    def __init__(self, where: object, problem: str, remedy: str = "") -> None:
        text = f"{where}: {problem}" + (f": {remedy}" if remedy else "")
        super().__init__(" ".join(text.split()))
