"""A file of text as UTF-8: unpacked and decoded, or refused with what it is instead."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shoal.errors import ConfigError

_PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}
_OTHERS = {
    b"PK\x03\x04": ("is a workbook or another ZIP archive", "save it as CSV"),
    b"\xd0\xcf\x11\xe0": ("is an Excel workbook", "save it as CSV"),
    b"PAR1": ("is a Parquet file", "name it .parquet"),
    b"ARROW1": ("is an Arrow file", "name it .arrow"),
    b"\x28\xb5\x2f\xfd": ("is packed with zstd", "unpack it"),
    b"%PDF": ("is a PDF document", "save the table as CSV"),
    b"SQLite format": ("is a database", "save the table as CSV"),
    b"\x89HDF": ("is an HDF5 file", "save the table as CSV"),
}
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OLD = "cp1252"
"""What programs on Windows write in Western Europe and America where they do not write Unicode."""
_LOOKED_AT = 1000


@dataclass(frozen=True)
class Opened:
    """The text of a file."""

    data: bytes
    """In UTF-8; lines end with a line feed."""
    note: str | None
    """What had to be guessed of it."""


def opened(path: Path, encoding: str | None) -> Opened:
    """The text in a file, in `encoding` or in the one that its bytes tell of.

    Raises:
        ConfigError: where it is no text, or not in that encoding: with the row.
        OSError: where it cannot be read.
    """
    data = _unpacked(path)
    # By its first bytes, as the extension is what the user believes.
    for magic, (problem, hint) in _OTHERS.items():
        if data.startswith(magic):
            raise ConfigError("path", str(path), problem, hint=hint)
    if data.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ConfigError("path", str(path), "is a web page or XML, not a table", hint="save the table as CSV")
    name, note = _encoding(data, encoding)
    try:
        # Polars reads UTF-8 alone.
        text = data.decode(name).encode()
    except UnicodeDecodeError as error:
        raise _undecodable(path, data, name, error.start) from error
    if b"\0" in text[:_LOOKED_AT]:
        raise ConfigError("path", str(path), "holds zero bytes: it is no text file", hint="save the table as CSV")
    # Old Macs' and Windows' line ends, of which polars knows only the latter.
    return Opened(text.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), note)


def known(encoding: str) -> bool:
    """Whether Python has an encoding of text by that name."""
    try:
        # Python has codecs from bytes to bytes too, such as base64; there is no public way to tell.
        return codecs.lookup(encoding)._is_text_encoding
    except LookupError:
        return False


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    for magic, unpack in _PACKED.items():
        if data.startswith(magic):
            try:
                return unpack(data)
            except (OSError, EOFError, lzma.LZMAError) as error:
                raise ConfigError("path", str(path), f"cannot be unpacked: {error}") from error
    return data


def _encoding(data: bytes, wanted: str | None) -> tuple[str, str | None]:
    """The encoding of a text, and a note if it was guessed."""
    # Before the encoding that was asked for, by which the mark would become a part of the first name.
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return name, None
    if wanted:
        return codecs.lookup(wanted).name, None
    # Of Latin letters in UTF-16 every other byte is zero: the second where the low one comes first.
    even, odd = data[:_LOOKED_AT:2].count(0), data[1:_LOOKED_AT:2].count(0)
    if odd > _LOOKED_AT // 8 or (odd and odd > len(data) // 8):
        return "utf-16-le", None
    if even > _LOOKED_AT // 8 or (even and even > len(data) // 8):
        return "utf-16-be", None
    if _is_utf8(data):
        return "utf-8", None
    return _OLD, f"not in UTF-8: read as {_OLD}; task.encoding names another encoding"


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _undecodable(path: Path, data: bytes, name: str, at: int) -> ConfigError:
    line = data.count(b"\n", 0, at)
    where = f"row {line}" if line else "the header"
    problem = f"{where} is not in {name}: the byte 0x{data[at]:02x} stands for nothing there"
    return ConfigError("path", str(path), problem, hint="set task.encoding, for example task.encoding=cp1250")
