"""What a command line tells of a sweep before anything is composed: that its runs will train in worker processes.

Their server imports torch meanwhile. Composing the first job, which says for certain, takes this process a good half of
a second, Hydra's import with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from shoal.override_words import key_and_value

_OPTIONS = frozenset({"-m", "--multirun", "--config-dir", "-cd", "--config-name", "-cn"})
"""With any other a command may only show something."""
_OTHERWISE = frozenset({"sweep.dry_run", "workers", "numerics", "hydra/launcher", "resume"})
"""Settings that may want no worker of this machine, or one of another environment."""


@contextmanager
def workers_foreseen(words: Sequence[str]) -> Iterator[None]:
    """Let the server of the workers begin where the words behind `train` ask for some; one that nobody wants ends."""
    # Where torch has been imported, what comes before the first job is composed takes no time.
    if "torch" in sys.modules or not wants_workers(words):
        yield
        return
    from shoal.sweeps.processes import foreseen

    with foreseen():
        yield


def wants_workers(words: Sequence[str]) -> bool:
    """Whether words behind `train` ask for worker processes, unless a file of the configuration says otherwise."""
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    settings = dict(key_and_value(word) for word in words if not word.startswith("-"))
    sweep = options <= _OPTIONS and not options.isdisjoint({"-m", "--multirun"})
    return sweep and _OTHERWISE.isdisjoint(settings) and settings.get("sweep.processes") != "0"
