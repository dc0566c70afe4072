"""The C library's memory allocator, told once to keep what it has.

glibc returns temporaries of a megabyte to the system at every call and has each page zeroed again at the next; kept,
they cost nothing. Results are the same to the bit.
"""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGE = 1 << 30


@cache
def keep_memory() -> bool:
    """Keep freed memory in this process; whether the C library could be told."""
    try:
        # None is the process itself, with whatever C library it has; those of macOS and Alpine have no mallopt.
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(set_option(_MMAP_THRESHOLD, _LARGE) and set_option(_TRIM_THRESHOLD, _LARGE))
