"""Where the project lies, and the helpers of its tests, which import each other by bare names."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS, TESTS = ROOT / "docs", ROOT / "tests"


def use_helpers_of_tests() -> None:
    """From here on, `import fuzzing` and the like find tests/support."""
    sys.path.insert(0, str(TESTS / "support"))
