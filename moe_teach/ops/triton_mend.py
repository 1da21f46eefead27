"""One repair of Triton 3.6, whose interpreter stumbles over newer releases of NumPy.

It turns the end of a loop into an integer by `int()` of an array with one element. NumPy 2.4 takes
that from arrays without axes only, so no kernel could loop up to a number it was given or has
loaded. From 3.7 on Triton squeezes the array first; here 3.6 learns it too.
"""

from typing import Any

import triton
from triton.runtime import interpreter


def mend_loops() -> None:
    """Let interpreted kernels of Triton 3.6 loop up to a number that is not a constant."""
    if not triton.__version__.startswith("3.6."):
        return
    patch = interpreter._patch_lang_tensor

    def patch_and_squeeze(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.squeeze()))

    interpreter._patch_lang_tensor = patch_and_squeeze
