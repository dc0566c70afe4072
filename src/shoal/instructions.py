"""What decides to the bit how the libraries compute: which instructions they use, and whether they do so every time.

The settings are environment variables, since the libraries read them before there is anything to call. Torch's products
of matrices are MKL's, which reads MKL_CBWR the first time that it computes. Unset, it picks the kernel of a product by
the number of matrices, on some processors, and by where they lie in memory: a run would have other bits in a large
stack than in a small one. AUTO keeps the fastest instructions of the processor, and is free.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

MKL = "MKL_CBWR"
REPEATABLE = "AUTO"


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have MKL compute the same whatever else it computes; a setting of the user's own is kept."""
    environment.setdefault(MKL, REPEATABLE)
