"""What was found exact on this machine, kept for the processes to come: a file for each program, named by a digest.

The digest is of all that decides what bits come of a program. A file that is damaged, or one that cannot be written,
costs no more than the time to compare again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from shoal import machine
from shoal.instructions import in_use
from shoal.step.cache import folder
from shoal.step.exact.calls import Form

PREFIXES = ("MKL_", "DNNL_", "ONEDNN_", "ATEN_", "OMP_", "KMP_", "OPENBLAS_")
"""Of the variables of the environment that the libraries read."""
PATIENCE = 10.0
"""Seconds to wait for another process that compares; then this one does it, too."""


def digest(text: str, inputs: Sequence[Tensor]) -> str:
    """Names a program, by its text, for inputs of these forms where this process computes it."""
    forms = [str(Form.of(value)) for value in inputs]
    return hashlib.sha256("\n".join([text, *forms, *surroundings()]).encode()).hexdigest()


def known(name: str) -> bool:
    """Whether the program of this digest was found exact."""
    return recalled(name) is not None


def recalled(name: str) -> str | None:
    """What was kept under this digest; None where that is nothing, or damaged."""
    with suppress(OSError, RuntimeError):
        said, _, seal = _path(name).read_text(encoding="ascii", errors="replace").partition("\n")
        return said if seal == _seal(name, said) else None
    return None


@contextmanager
def looked_up(name: str) -> Iterator[bool]:
    """Whether it is known; where not, other processes that ask wait for what this one finds within.

    The workers of a sweep begin with the same programs at the same time.
    """
    with ExitStack() as held:
        if not known(name):
            # NotImplementedError comes of a file system without locks, RuntimeError of a user without a home.
            with suppress(OSError, RuntimeError, Timeout, NotImplementedError):
                locks = folder("locks")
                locks.mkdir(mode=0o700, parents=True, exist_ok=True)
                # By the first digit, so that there are sixteen lock files at most, however many programs.
                held.enter_context(FileLock(locks / name[0], timeout=PATIENCE))
        # Looked up again: whoever held the lock has mostly found it out by now.
        yield known(name)


def keep(name: str, said: str = "") -> None:
    """Remember that the program of this digest is exact, or a line that is said of it."""
    with suppress(OSError, RuntimeError):
        path = _path(name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f"{name}.{os.getpid()}.new")
        new.write_text(f"{said}\n{_seal(name, said)}", encoding="ascii")
        # In one step, so that no process reads half a file; the number in the new name keeps two writers apart.
        new.replace(path)


def _seal(name: str, said: str) -> str:
    """Tells that nothing of a file is damaged."""
    return hashlib.sha256(f"{name} {said}".encode()).hexdigest()


def _path(name: str) -> Path:
    return folder("exact") / name[:48]


def surroundings() -> list[str]:
    """Versions, processor and settings: those in force, where a library tells them."""
    settings = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(PREFIXES)]
    flags = [
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
    ]
    return [libraries(), machine.kind(), *settings, *map(str, flags), *in_use().values()]


@cache
def libraries() -> str:
    """The versions of what computes, this package with the time of its last change among them."""
    # Who works on the package changes its formulas without changing its version.
    changed = max(path.stat().st_mtime_ns for path in Path(__file__).parents[2].rglob("*.py"))
    return f"{machine.installed('shoal')} {changed} {torch.__version__} {torch.__config__.show()}"
