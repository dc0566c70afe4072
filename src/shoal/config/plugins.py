"""Hydra imports every plugin it finds, whoever installed it: one that breaks is named."""

from __future__ import annotations

import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.config_store import ConfigStore

from shoal.errors import UsageError, brief

_OTHER = "shoal.yaml"
"""What the store calls the launcher that Hydra offers to every program."""
HINT = "it was written for another version of Hydra: update it, or uninstall it"


@contextmanager
def importing_plugins() -> Iterator[None]:
    """Let Hydra look for plugins within this; one that lacks a package is left out, with a warning on the terminal.

    Raises:
        UsageError: where a plugin breaks in another way, which Hydra lets every program in this environment fail of.
    """
    with warnings.catch_warnings(record=True) as caught:
        # Python shows a warning once for a place, and this is composed many times in a process.
        warnings.simplefilter("always")
        try:
            yield
        # Raised by what runs within: it is about something else, and worded already.
        except UsageError:
            raise
        except Exception as error:
            name = _plugin(error)
            if name is None:
                raise
            raise UsageError(f"the Hydra plugin {name} cannot be imported: {brief(error)}", hint=HINT) from error
    for warning in caught:
        text = str(warning.message)
        found = re.search(r"Error importing '([^']+)'", text)
        if found:
            print(f"warning: {found[1]} is left out: {text.split(chr(9))[-1].strip()}; {HINT}", file=sys.stderr)


@contextmanager
def own_launcher() -> Iterator[None]:
    """Hide `hydra/launcher=shoal` within this, which is for programs that know nothing of shoal."""
    launchers: Any = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    # Beside it is shoal's own file of that name, which Hydra would validate against this one, with a warning.
    other = launchers.pop(_OTHER, None)
    try:
        yield
    finally:
        if other is not None:
            launchers[_OTHER] = other


def _plugin(error: Exception) -> str | None:
    """The module of a plugin in which an error came up."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        # By the frames: the message of an error in an import seldom names the plugin.
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith("hydra_plugins."):
            return name
    return None
