"""Where the project's own files lie, for tests that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parents[1]


def notebooks() -> dict[str, Any]:
    """What the four notebooks show, row by row."""
    rows: dict[str, Any] = json.loads((SUPPORT / "reference" / "notebooks.json").read_text())
    return rows
