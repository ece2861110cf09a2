"""Write tests/goldens/forward.json: sha256 of every output of two networks, by the definition.

Run by hand, only when the arithmetic's version changes: `python tests/goldens/make_forward.py`.
It takes the slow arithmetic "ref", which needs no compiler.
"""

import hashlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "support"))

from whole_numbers import model_of_whole_numbers  # noqa: E402

from refquant.engine.walk import walk  # noqa: E402


def main() -> None:
    golden = {}
    for name in ("yolov7", "yolov7-tiny"):
        model, x = model_of_whole_numbers(name)
        golden[name] = {
            node.name: hashlib.sha256(y.tobytes()).hexdigest()
            for node, y in walk(model, x, arithmetic="ref")
        }
    (HERE / "forward.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
