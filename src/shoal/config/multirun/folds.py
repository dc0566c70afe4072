"""k-fold cross-validation as a sweep: `-m task.folds=5` trains all five folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shoal.override_words import key_and_value

FOLDS, FOLD = "task.folds", "task.fold"


def every_fold(overrides: Sequence[str], jobs: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """The overrides of a sweep, with all values of `task.fold` where they say how many folds but not which.

    `jobs` are combinations that the sweep lists one by one: they may say which, too.
    """
    # By text: `task.folds=5` has to be seen before there is a configuration.
    given = dict(map(key_and_value, overrides))
    chosen = FOLD in given or any(FOLD in job for job in jobs)
    # Only a plain number: several numbers of folds, as in `task.folds=3,5`, have no folds in common.
    n = given.get(FOLDS, "")
    return [*overrides, f"{FOLD}=range({n})"] if n.isdecimal() and int(n) and not chosen else list(overrides)
