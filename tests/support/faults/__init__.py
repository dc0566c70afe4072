"""Injecting real faults: a process that dies at a chosen call, a disk that is full or fails, bits that flip."""

from __future__ import annotations

import builtins
import ctypes
import errno
import io
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WRITES = ("write", "fsync", "replace", "link", "unlink", "mkdir", "truncate")
"""The calls that change what is on a disk, as `Faults` counts them."""


class Faults:
    """Counts the calls that change a disk, and at call number `at` lets one go wrong.

    `kind` is "kill" (the process ends there, before the call), "half" (it ends with half of a write done), or the
    name of an error (EIO, ENOSPC), raised once or, with `lasting`, from then on.
    """

    def __init__(self, *, at: int = 0, kind: str = "kill", lasting: bool = False) -> None:
        self.at = at
        self.kind = kind
        self.lasting = lasting
        self.count = 0
        self.calls: list[str] = []

    def before(self, call: str, write: Callable[[], Any] | None = None) -> None:
        """Take note of a call that is about to happen; `write` does half of it."""
        self.count += 1
        self.calls.append(call)
        if self.count != self.at and not (self.lasting and 0 < self.at < self.count):
            return
        if self.kind in ("kill", "half"):
            if self.kind == "half" and write is not None:
                write()
            os._exit(77)
        number = getattr(errno, self.kind)
        raise OSError(number, os.strerror(number))

    @contextmanager
    def installed(self, folder: Path) -> Iterator[Faults]:
        """Let files below `folder`, and the calls on paths there, go through this."""
        real_open, real_io_open, saved = builtins.open, io.open, {name: getattr(os, name) for name in WRITES[1:]}
        root = str(folder.resolve())

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            found = real_open(file, mode, *args, **kwargs)
            path = os.path.abspath(file) if isinstance(file, str | Path) else ""
            wanted = path.startswith(root) and "b" in mode and any(letter in mode for letter in "wax+")
            return _Watched(found, self) if wanted else found

        def watched(name: str) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                paths = [os.path.abspath(arg) for arg in args[:2] if isinstance(arg, str | Path)]
                if name == "fsync" or any(path.startswith(root) for path in paths):
                    self.before(name)
                return saved[name](*args, **kwargs)

            return call

        builtins.open = io.open = opened  # type: ignore[assignment]
        for name in saved:
            setattr(os, name, watched(name))
        os.rename = os.replace
        try:
            yield self
        finally:
            builtins.open, io.open = real_open, real_io_open
            for name, function in saved.items():
                setattr(os, name, function)


class _Watched:
    """A file whose writes are counted."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file = file
        self._faults = faults

    def write(self, content: Any) -> int:
        def half() -> None:
            self._file.write(bytes(content)[: len(content) // 2])
            self._file.flush()

        self._faults.before("write", half)
        return int(self._file.write(content))

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *details: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def forked(work: Callable[[], Any], *, log: Path | None = None) -> int:
    """Start `work` in a copy of this process, torch and all; its process id. It exits with what `work` returns."""
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        out = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = sys.stderr = io.TextIOWrapper(os.fdopen(os.dup(out), "wb", 0), write_through=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        result = work()
        code = result if isinstance(result, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int, *, seconds: float = 60.0, kill: bool = True) -> int:
    """Wait for a process; its exit code, or minus the signal that ended it.

    Raises:
        TimeoutError: where it has not ended after so long; it is killed then, or with `kill` false left alone.
    """
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            break
        time.sleep(0.002)
    if kill:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    raise TimeoutError(f"process {child} had not ended after {seconds} s")


def in_child(work: Callable[[], Any], *, log: Path | None = None) -> int:
    """The exit code of `work` in a copy of this process."""
    return ended(forked(work, log=log))


def dies(work: Callable[[], Any], seconds: float) -> bool:
    """Kill `work`, in a copy of this process, after so long; whether it was still at it."""
    child = forked(work)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return ended(child) == -signal.SIGKILL


def flipped(path: Path, bit: int) -> None:
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def cut(path: Path, length: int) -> None:
    """Drop all but the first `length` bytes of a file."""
    os.truncate(path, length)


def bits(path: Path, n: int, *, seed: int) -> Sequence[int]:
    """`n` bits of a file, drawn by chance, its first and last among them."""
    size = 8 * path.stat().st_size
    chance = random.Random(seed)
    return [0, size - 1, *(chance.randrange(size) for _ in range(n - 2))]


class NoMount(RuntimeError):
    """A file system of its own cannot be had here."""


@contextmanager
def small_disk(folder: Path, *, size: str = "1m") -> Iterator[Path]:
    """A file system of its own, as small as that.

    Raises:
        NoMount: where this process may not mount one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    target = os.fsencode(folder)
    if libc.mount(b"tmpfs", target, b"tmpfs", 0, f"size={size},mode=777".encode()) != 0:
        raise NoMount(os.strerror(ctypes.get_errno()))
    try:
        yield folder
    finally:
        libc.umount2(target, 2)


def obey_permissions() -> None:
    """Give up the superuser's right to read and write where a folder's mode forbids it; others have no such right."""
    if os.geteuid() != 0:
        return
    version, override = 0x20080522, 1 << 1 | 1 << 2  # _LINUX_CAPABILITY_VERSION_3, CAP_DAC_OVERRIDE, _READ_SEARCH
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(version, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, data) == 0:
        data[0] &= ~override
        libc.capset(header, data)


def assert_refused_without_permission(command: Callable[[], int], *, log: Path) -> None:
    """A command that obeys permissions says in three lines at most what it may not write, and exits with 1."""

    def work() -> int:
        obey_permissions()
        return command()

    code = in_child(work, log=log)

    said = log.read_text()
    assert code == 1
    assert said.startswith("error: cannot write ")
    assert "Permission denied" in said
    assert len(said.splitlines()) <= 3
