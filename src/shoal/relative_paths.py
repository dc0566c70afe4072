"""Where relative paths of settings start: in the directory that the command was given in, wherever a run works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_origin: ContextVar[Path | None] = ContextVar("origin", default=None)


@contextmanager
def starting_at(folder: Path | str) -> Iterator[None]:
    """Let relative paths start at `folder` while the block runs, in whatever directory the process then is."""
    before = _origin.set(Path(folder).absolute())
    try:
        yield
    finally:
        _origin.reset(before)


def located(path: str) -> Path:
    """The file or folder that a setting names."""
    # An absolute path that is joined to a folder takes its place.
    return (_origin.get() or Path()) / Path(path).expanduser()
