"""The end of a process of shoal's own."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process with this exit code, once its threads and all that waits for its end are through.

    Python would take apart what was imported, and torch's library what it has made: a tenth of a second for nothing.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
