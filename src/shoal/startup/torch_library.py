"""Torch's library, loaded while this process does something else.

To load it takes the system a fifth of a second, a quarter of what `import torch` takes, and needs no Python.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from importlib import import_module
from importlib.util import find_spec

WITH_LIBRARIES = ("pickle", "socket", "subprocess", "unicodedata", "uuid")
"""Modules with libraries of their own that Hydra imports."""
_LIBRARY = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}
_thread: threading.Thread | None = None


def load() -> None:
    """Have a thread load torch's library, if torch is not imported. Then `wait`, before an environment variable is set.

    The library reads the environment as it is loaded, by a call that bears no change meanwhile.
    """
    global _thread
    path = None if "torch" in sys.modules else _library()
    if path is not None and _thread is None:
        # The system loads one library at a time: an import of another would wait until torch's is there.
        for name in WITH_LIBRARIES:
            import_module(name)
        _thread = threading.Thread(target=_load, args=[path], daemon=True)
        _thread.start()


def wait() -> None:
    """Go on when it is loaded, if it was begun."""
    if _thread is not None:
        _thread.join()


def _library() -> str | None:
    """Where torch has its library; None where it has none that can be loaded by itself."""
    spec = find_spec("torch")
    if sys.platform not in _LIBRARY or spec is None or not spec.submodule_search_locations:
        return None
    folder = os.path.join(spec.submodule_search_locations[0], "lib")
    # Builds for GPUs load libraries of their makers first, by names that only torch knows.
    if any(os.path.exists(os.path.join(folder, f"libtorch_{kind}.so")) for kind in ("cuda", "hip", "xpu")):
        return None
    path = os.path.join(folder, _LIBRARY[sys.platform])
    return path if os.path.exists(path) else None


def _load(path: str) -> None:
    # Not ctypes.CDLL(path), which keeps the interpreter's lock meanwhile. If it fails, `import torch` says why.
    ctypes.CDLL(None).dlopen(os.fsencode(path), os.RTLD_NOW)
