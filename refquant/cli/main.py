"""`refquant VERB ...`: find the verb; turn errors into one line and an exit code.

Exit codes: 0 all is well, 1 a check failed, 2 wrong usage, 3 bad input, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from refquant._version import __version__
from refquant.arrays.errors import BadInput, printable
from refquant.cli import (
    audit,
    convert,
    detect,
    evaluate,
    export,
    fetch,
    golden,
    info,
    quantize,
    study,
    verify,
    warmup,
)
from refquant.cli.usage import Parser, parsed

VERBS = (
    *(convert, info, detect, quantize, audit, evaluate, study),
    *(golden, verify, export, fetch, warmup),
)

DESCRIPTION = """The golden reference for YOLOv7 and for the quantization of its weights.
Results are printed on stdout, progress on stderr."""


def parser() -> Parser:
    """Build the parser of the whole command line; this imports nothing heavy."""
    top = Parser(
        prog="refquant",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="refquant VERB --help has examples.",
    )
    top.add_argument("--version", action="version", version=f"refquant {__version__}")
    subparsers = top.add_subparsers(metavar="VERB", required=True, dest="verb")
    for verb in VERBS:
        verb.add_parser(subparsers)
    top.verbs = subparsers.choices
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    if hasattr(sys.stdout, "reconfigure"):  # a name that it cannot encode must not end the run
        sys.stdout.reconfigure(errors="backslashreplace")
    options = parsed(parser(), sys.argv[1:] if arguments is None else arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except BadInput as error:
        return _fail(with_remedy(options, str(error)), 3)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing to say, and nowhere to say it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(printable(f"{error.filename or 'input'}: {error.strerror or error}"), 3)
    except MemoryError:
        return _fail("not enough memory: choose a smaller input or fewer threads", 3)
    except KeyboardInterrupt:
        return _fail("interrupted; what was written is whole", 130)


def with_remedy(options: argparse.Namespace, problem: str) -> str:
    """The problem with a hint behind it, where one is known."""
    from refquant.cli.hints import remedy

    return problem + printable(remedy(options, problem))


def _fail(message: str, code: int) -> int:
    print(f"refquant: {message}", file=sys.stderr)
    return code
