"""The one error that a user can cause: bad input, told in one line.

A message has three parts: where (a file, a layer, an option), what value breaks which rule, and
the remedy. The command line prints it as one line and leaves with exit code 3. Names in a message
may be a stranger's: what a terminal would obey instead of showing it is shown as "?".
"""


class BadInput(ValueError):
    """Input that breaks a rule; its text is one line: where, what is wrong, remedy.

    It is a ValueError. The command line prints the line and leaves with exit code 3.

    Parameters
    ----------
    where : object
        The file, the layer or the option, such as "bits=9".
    problem : str
        The value, and the rule that it breaks.
    remedy : str, default: ""
        What to do instead; "" where there is nothing to advise.

    Examples
    --------
    >>> import refquant
    >>> try:
    ...     refquant.load_model("nowhere.h5")
    ... except refquant.BadInput as error:
    ...     print(error)
    nowhere.h5: does not exist: name a model file, or demo
    """

    def __init__(self, where: object, problem: str, remedy: str = "") -> None:
        text = f"{where}: {problem}" + (f": {remedy}" if remedy else "")
        super().__init__(printable(" ".join(text.split())))
        self._parts = (str(where), problem, remedy)

    def __reduce__(self) -> tuple[type["BadInput"], tuple[str, str, str]]:
        """How it travels between processes."""
        return BadInput, self._parts


def printable(text: str) -> str:
    """The text with a "?" for each character that cannot be shown, such as escape sequences'."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text)
