"""Digests: how a file that was cut short, changed or swapped is told from what was written."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shoal.errors import DamagedError

_PREFIX = b"sha256:"
_SEAL_LENGTH = len(_PREFIX) + 64


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Digest and size of each file, by its path below `folder`."""
    return {
        file.relative_to(folder).as_posix(): {"sha256": digest(file), "bytes": file.stat().st_size} for file in files
    }


def verify(folder: Path, seals: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What is wrong with the sealed files, by path: "missing", "changed since it was written", or "not in the run"."""
    wrong = {}
    for name, expected in seals.items():
        file = folder / name
        # A run.json may come from somebody else: its names must not have files elsewhere looked at.
        if not file.resolve().is_relative_to(folder.resolve()):
            wrong[name] = "not in the run"
        elif not file.is_file():
            wrong[name] = "missing"
        elif digest(file) != expected["sha256"]:
            wrong[name] = "changed since it was written"
    return wrong


def sealed(archive: bytes) -> bytes:
    """A zip archive (which a checkpoint is) with its own digest as the archive's comment.

    The seal travels in the file, so that no crash can part the two, and every zip reader still opens it.
    """
    seal = _PREFIX + hashlib.sha256(archive).hexdigest().encode()
    # A zip archive ends with the length of its comment, in two bytes: there is none yet.
    return archive[:-2] + struct.pack("<H", len(seal)) + seal


def unsealed(path: Path) -> bytes:
    """The zip archive in a sealed file.

    Raises:
        DamagedError: where it is cut short, changed, or was never sealed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror}") from error
    archive, seal = content[:-_SEAL_LENGTH], content[-_SEAL_LENGTH:]
    # With the two bytes of the comment's length, which the digest does not cover.
    if sealed(archive[:-2] + b"\0\0")[-_SEAL_LENGTH - 2 :] != archive[-2:] + seal:
        raise DamagedError(f"{path} is damaged: its content is not what was written")
    return archive[:-2] + b"\0\0"
