"""Writing a file so that a reader, or a crash at any moment, sees the old content or the new and nothing between."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from shoal.errors import ShoalError

SUFFIX = ".partial"
"""Ending of the temporary file beside its target; one left by a crash is overwritten by the next write."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends without an exception.

    Raises:
        ShoalError: where the file cannot be written; `path` then holds what it held before.
    """
    partial = path.with_name(f".{path.name}{SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise unwritable(path, error) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` in the place of `path`."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Put `text`, as UTF-8, in the place of `path`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Put `value`, as JSON a person can read, in the place of `path`; nan and inf become strings.."""
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def share(path: Path, other: Path) -> None:
    """Make `other` hold what `path` holds now, without writing it again where the file system can link."""
    partial = other.with_name(f".{other.name}{SUFFIX}")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:
        shutil.copyfile(path, partial)
    partial.replace(other)
    sync_folder(other.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(path: Path, error: OSError) -> ShoalError:
    """The error for a file that cannot be written: the path, the reason, and the space left on its disk."""
    reason = error.strerror or str(error)
    folder = next((parent for parent in path.parents if parent.exists()), Path.cwd())
    free = shutil.disk_usage(folder).free
    return ShoalError(f"cannot write {path}: {reason}", hint=f"{free / 1e6:.1f} MB are free there")


def _finite(value: Any) -> Any:
    """`value` with every number that JSON has no word for as its name: "nan", "inf" or "-inf"."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
