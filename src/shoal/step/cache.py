"""Where this package keeps what it has found out on a machine: in the user's own cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def folder(name: str) -> Path:
    """The folder for findings of a kind; it need not be there.

    Raises:
        RuntimeError: where the user has no home.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    # Set but empty counts as not set, as the XDG specification says.
    return (Path(given) if given else Path.home() / ".cache") / "shoal" / name
