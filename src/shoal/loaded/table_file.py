"""A table in a file that is given on the command line."""

from __future__ import annotations

from pathlib import Path

from shoal.errors import ConfigError, UsageError
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.reading import Read, read


def table(path: Path, format: Format) -> Read:
    """The table in a file.

    Raises:
        UsageError: where there is none, or one that is written in another way.
    """
    try:
        return read(path.expanduser(), format)
    except ConfigError as error:
        # There is no task here to set anything of.
        hint = error.hint if "task." not in (error.hint or "") else "write it as the table of the training was"
        raise UsageError(f"{path}: {error.problem}", hint=hint) from error
