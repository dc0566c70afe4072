"""Matplotlib without the descriptions that it writes of itself, which take a third of its import and no chart shows.

For each kind of artist it looks through all methods of the class, for the signature and the help of a single one.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def import_undescribed() -> None:
    """Import matplotlib's artists; those that are defined from now on are not described, and there are no 3D axes.

    Only for a process that draws a chart and ends: in any other, somebody may ask for help.
    """
    from matplotlib import artist

    described: Any = artist.Artist
    # A matplotlib that describes them in another way is imported as it is.
    if hasattr(described, "_update_set_signature_and_docstring"):
        described._update_set_signature_and_docstring = lambda: None
    artist.kwdoc = lambda artist: ""
    sys.modules.setdefault("mpl_toolkits.mplot3d", _Flat("mpl_toolkits.mplot3d"))


class _Flat(ModuleType):
    """In the place of the module that matplotlib imports for the name of its axes."""

    class Axes3D:
        """A projection that nobody chooses."""

        name = "3d"
