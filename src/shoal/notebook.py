"""What a notebook shows: a line that changes in its place, and runs and sweeps as small pages."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Mapping
from html import escape
from importlib import import_module


def changing_line() -> Callable[[str], None] | None:
    """What shows a line in the place of the one before; None where this is no notebook."""
    # Not imported for this: in a notebook it is there already.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    # IPython on a terminal has none.
    if shell is None or not hasattr(shell, "kernel"):
        return None
    handle = import_module("IPython.display").display({"text/plain": ""}, raw=True, display_id=True)
    return lambda text: handle.update({"text/plain": text}, raw=True)


def page(title: str, facts: Mapping[str, object], png: bytes | None) -> str:
    """Names with their values, and below them a picture, as HTML; facts that are empty are left out."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
        if value not in (None, "")
    )
    encoded = base64.b64encode(png).decode() if png else ""
    picture = f"<img alt='{escape(title)}' style='max-width:100%' src='data:image/png;base64,{encoded}'>" if png else ""
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table>{picture}</div>"
