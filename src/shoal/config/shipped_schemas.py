"""What can be set, as the schemas say that come with shoal: read without importing anything that they describe."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

DEFINITIONS = "settings.json"
"""The file of all definitions, among the schemas."""
SCHEMAS = Path(__file__).parent.parent / "schema"
"""Written by docs/reference.py."""


@cache
def shipped() -> dict[str, dict[str, Any]]:
    """The schema of each class by its path, of each group by its name, and of train.yaml."""
    found: dict[str, dict[str, Any]] = json.loads((SCHEMAS / DEFINITIONS).read_text(encoding="utf-8"))["definitions"]
    return found
