"""Floor 5: from images to detections, and from a data set to average precision.

This folder and the public function `refquant.detect` share a name, and Python puts the folder in
the function's place as soon as any file of it is imported. So the folder can be called too:
`refquant.detect(model, image)` detects, whichever of the two stands there.
"""

import sys
from types import ModuleType
from typing import Any


class CallableFolder(ModuleType):
    """This folder as a module that can be called."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """predict.py's `detect`."""
        from refquant.detect.predict import detect

        return detect(*arguments, **options)


sys.modules[__name__].__class__ = CallableFolder
