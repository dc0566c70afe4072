"""Code of one run that a user has compiled, in a stack, which compiles its own step."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def as_written() -> AbstractContextManager[Any]:
    """Has functions and modules that were given to `torch.compile` do what is written in them."""
    # Where nobody has compiled anything, the compiler is not there: it takes a second to be imported.
    dynamo: Any = sys.modules.get("torch._dynamo.decorators")
    return dynamo.set_stance("force_eager") if dynamo else nullcontext()
