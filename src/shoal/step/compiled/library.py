"""A shared library made of C by the system's compiler, in the background, and kept for the processes to come."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from shoal import machine
from shoal.instructions import portable
from shoal.step.cache import folder

# gcc contracts products and sums by itself, which rounds once less. Without errno and traps square roots and choices
# become vectors; `-fopenmp-simd` follows `#pragma omp simd`, and needs no library of OpenMP.
FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")
"""Nothing here lets the compiler change a number."""
PORTABLE = ("-mavx2", "-mfma")
"""The compiler's flags for what all processors have that compute portably."""


class CannotCompileError(Exception):
    """There is no compiler, or it failed."""


class Library:
    """Functions over pointers and numbers.

    Its file is named by what it was made of and by its own digest: one cut short would end the process that loads it.
    """

    def __init__(self, source: str) -> None:
        """Begin to compile, unless some process on this machine has done so before.

        Raises:
            CannotCompileError: where there is no compiler, or no place for what it makes.
        """
        compiler = _compiler()
        self._folder = _kept()
        self.name = _digest(compiler, source)
        """Of what it is made, as a digest."""
        self._problem: str | None = None
        self._path = self._whole()
        self._compiling: threading.Thread | None = None
        if self._path is None:
            # A daemon: a process that is done does not wait for a compiler that it no longer needs.
            self._compiling = threading.Thread(target=self._compile, args=(compiler, source), daemon=True)
            try:
                self._compiling.start()
            except RuntimeError as error:  # no more threads
                raise CannotCompileError(str(error)) from None

    def _whole(self) -> Path | None:
        """The file that another process has made, if it is whole."""
        for path in self._folder.glob(f"{self.name}.*.so"):
            with suppress(OSError):
                if path.name == self._named(path.read_bytes()):
                    return path
                # Another content than its name says: it was cut short, and is made anew.
                path.unlink()
        return None

    def _named(self, content: bytes) -> str:
        return f"{self.name}.{hashlib.sha256(content).hexdigest()}.so"

    def _compile(self, compiler: str, source: str) -> None:
        # In the same folder, or `replace` could not put it in place at one stroke.
        new = self._folder / f"{self.name}.{os.getpid()}.{threading.get_ident()}.new"
        try:
            # For nobody else to write to: what lies there is loaded into the process.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            command = [*_called(compiler), "-shared", "-fPIC", "-x", "c", "-", "-o", str(new)]
            # Compilers speak the user's language, in whatever encoding that has.
            subprocess.run(command, input=source, capture_output=True, text=True, errors="replace", check=True)
            self._path = new.replace(self._folder / self._named(new.read_bytes()))
        except subprocess.CalledProcessError as error:
            self._problem = error.stderr.partition("\n")[0] or str(error)
        except OSError as error:
            self._problem = str(error)
        finally:
            with suppress(OSError):
                new.unlink()

    def ready(self) -> bool:
        """Whether the functions can be had; does not wait.

        Raises:
            CannotCompileError: where the compiler failed.
        """
        if self._compiling is not None and self._compiling.is_alive():
            return False
        if self._problem is not None:
            raise CannotCompileError(self._problem)
        return True

    def functions(self) -> Any:
        """The functions, as attributes by their names, once they are ready.

        Raises:
            CannotCompileError: where they cannot be loaded.
        """
        if self._problem is not None:
            raise CannotCompileError(self._problem)
        try:
            return ctypes.CDLL(str(self._path))
        except OSError as error:
            raise CannotCompileError(str(error)) from None


def native(architecture: str) -> str:
    """The compiler's flag for all that a processor has, vectors as wide as it has them: clang knows but one on each."""
    return "-mcpu=native" if architecture.startswith(("aarch64", "arm", "ppc")) else "-march=native"


def _called(compiler: str) -> list[str]:
    widest = PORTABLE if portable() else (native(machine.architecture()),)
    return [compiler, *FLAGS, *widest]


def _compiler() -> str:
    # CC may name a compiler that is not here, or have flags behind the name: then the usual ones are tried.
    found = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        raise CannotCompileError("there is no C compiler")
    return found


def _kept() -> Path:
    """Where libraries are kept."""
    try:
        return folder("kernels")
    except RuntimeError as error:
        raise CannotCompileError(str(error)) from None


def _digest(compiler: str, source: str) -> str:
    """A name for a library that changes with its source, its compiler and the processor."""
    # An update puts another compiler under the same name.
    changed = os.stat(compiler).st_mtime_ns
    return hashlib.sha256("\n".join([*_called(compiler), str(changed), machine.kind(), source]).encode()).hexdigest()[
        :32
    ]
