"""Where the user's own modules are found."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def importing() -> Iterator[None]:
    """Find the user's own modules in the working directory."""
    here = str(Path.cwd())
    if here not in sys.path:  # "" would be another directory once a run works in its own
        sys.path.insert(0, here)
    # It stays on the path: what is imported may import more as it is called.
    yield
