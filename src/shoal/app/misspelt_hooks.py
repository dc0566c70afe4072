"""Says of methods that look like hooks of Lightning's, and are none, that nobody calls them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from inspect import isfunction
from typing import Any

import pytorch_lightning as pl

from shoal.engines.hook_names import of_shoal, upstream_class
from shoal.engines.job import Job
from shoal.errors import nearest, warn

_ALIKE = 80
"""Per cent of their letters in which a name and a hook's are alike at least."""


def tell_of_misspelt(job: Job) -> None:
    """Name the hook that is meant, once for each class of the user's own."""
    for owner in (*([job.module()] if job.own_module else []), *job.callbacks.values()):
        kind: Any = type(owner)
        _tell_of(kind, pl.Callback if isinstance(owner, pl.Callback) else pl.LightningModule)


@lru_cache
def _tell_of(kind: Any, base: Any) -> None:
    for name, hook in _misspelt(kind, base):
        warn(f"{kind.__name__}.{name} is no hook of Lightning's, and is not called by it: did you mean {hook}?")


def _misspelt(kind: type, base: type) -> Iterator[tuple[str, str]]:
    from rapidfuzz import fuzz

    hooks = [name for name in dir(base) if name.startswith("on_") or name.endswith("_step")]
    for name, method in _own(kind).items():
        if isfunction(method) and name not in hooks and (name.startswith("on_") or "_step" in name):
            hook = nearest(name, hooks)
            # A step beside the one that is called has a name like it.
            if hook and fuzz.ratio(name, hook) >= _ALIKE and (name.startswith("on_") or hook not in _own(kind)):
                yield name, hook


def _own(kind: type) -> dict[str, Any]:
    own = [each for each in kind.__mro__ if not (each is object or of_shoal(each) or upstream_class(each))]
    return {
        name: value for each in own if not each.__module__.startswith("torch") for name, value in vars(each).items()
    }
