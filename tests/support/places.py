"""Where things lie in a checkout: the project, its tests, and their helper files."""

from pathlib import Path

SUPPORT = Path(__file__).parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent
