"""A cheaper start: modules that are imported at every start, though next to nothing of them is used, run later.

Torch's optimizers and Lightning import `torch._dynamo`, the compiler, at a cost of 0.7 s: for two functions that do
nothing in eager mode and a class to ask `isinstance` about. Torchmetrics imports `scipy.signal` and `scipy.optimize`,
where scipy is installed, at a cost of another 0.6 s: for one attribute and one function; and matplotlib, for plots of
metrics. `import torch` itself spends a quarter of its time on kernels for tensors without values.

After `defer` those importers, each named in `deferred_modules`, get those few things at once. The module's own code has
not run then, as if nobody had imported it. Whatever else is asked of it, and whoever else imports it, runs its code
first, in the same module object; nothing that was handed out before then behaves differently from the real thing.
The environment variable SHOAL_EAGER_IMPORTS=1 turns all of this off.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shoal.startup.collecting import uncollected
from shoal.startup.deferral import Finder
from shoal.startup.deferred_modules import ANYWHERE, UNTIL_OTHERS
from shoal.startup.frames import frames_at_once

SWITCH = "SHOAL_EAGER_IMPORTS"
_own_process = False
_began = 0.0
"""The process's own time when its last command began."""


@contextmanager
def cheap_imports() -> Iterator[None]:
    """Import torch and Lightning within this: deferring what can be, and without looking for garbage meanwhile."""
    if _chosen_against():
        yield
        return
    defer()
    with uncollected(), frames_at_once():
        yield


def defer(*, own_process: bool = False) -> None:
    """From now on defer what can be, whoever imports torch and Lightning, and wherever.

    In a process of shoal's own that is more, until it imports code of others: see `complete_torch`.
    """
    global _own_process, _began
    _own_process |= own_process
    # One process may run several commands, as a test does.
    _began = time.process_time() if own_process else _began
    if not _chosen_against() and not any(isinstance(finder, Finder) for finder in sys.meta_path):
        # In front, or the usual finders would have found the modules already.
        sys.meta_path.insert(0, Finder((*ANYWHERE, *UNTIL_OTHERS) if own_process else ANYWHERE))


def complete_torch() -> None:
    """Have all of torch at hand, before code is imported that may make use of it in ways that shoal does not."""
    for finder in sys.meta_path:
        if isinstance(finder, Finder):
            for kind in UNTIL_OTHERS:
                finder.defer_no_more(kind.name)


def is_own_process() -> bool:
    """Whether this process is a command of shoal's, and no program of somebody else's."""
    return _own_process


def seconds_since_begun() -> float:
    """What the command of this process has taken by now, of its processor's time."""
    return time.process_time() - _began


def keep_what_is_imported() -> None:
    """Spare the garbage collector all that is alive now, which saves 0.4 s when the process ends.

    Only for a process of shoal's own: in somebody else's, garbage of theirs would stay too.
    """
    if not _chosen_against():
        gc.freeze()


def _chosen_against() -> bool:
    return os.environ.get(SWITCH, "0") not in ("", "0")
