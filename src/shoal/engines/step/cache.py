"""Where this package keeps what it has found out on a machine: in the user's own cache folder."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path


def folder(name: str) -> Path:
    """The folder for findings of a kind; it need not be there.

    Raises:
        RuntimeError: where the user has no home.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "shoal" / name


_TELLING = ("vendor_id", "cpu family", "model", "cache size", "flags", "CPU implementer", "CPU part", "Features")


@cache
def processor() -> str:
    """Which processor this is and what it can do, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    found = dict.fromkeys(line for line in lines if line.startswith(_TELLING))
    return "\n".join(found) or f"{platform.machine()} {platform.processor()}"
