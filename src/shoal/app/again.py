"""Training again what a run or a sweep was asked for, with other settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra._internal.utils import get_args_parser

from shoal.app.train import EndedTraining, train
from shoal.override_words import key_of
from shoal.rundir import RunInfo, SweepInfo

_OF_THE_PLACE = ("hydra.run.dir", "hydra.sweep.dir", "resume")
"""Settings that say where a run lies, which is another place now."""


def again(
    info: RunInfo | SweepInfo,
    overrides: Sequence[str],
    *,
    own_process: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> EndedTraining:
    """Train anew what a run or a sweep was asked for; the overrides here win. A run of a sweep is trained alone.

    Raises:
        ShoalError: where the configuration is wrong (nothing was written), or the training ended badly (it is
            recorded).
    """
    # A run that was started from Python has no options of a command line.
    given = get_args_parser().parse_args(info.command[1:]) if info.command[:1] == ["train.py"] else None
    multirun = isinstance(info, SweepInfo)
    # A run's own overrides, as a run of a sweep has one value of each; a sweep's command has all of them.
    words = asked(info.overrides if isinstance(info, RunInfo) or given is None else given.overrides, overrides)
    if isinstance(info, RunInfo) and info.sweep is not None and not any(word.startswith("engine=") for word in words):
        words.append(f"engine={info.engine}")  # with another one the bits are others
    options: Mapping[str, Any] = vars(given) if given else {}
    return train(
        words,
        multirun=multirun,
        config_dir=options.get("config_dir"),
        config_name=options.get("config_name"),
        command=["train.py", *words],
        own_process=own_process,
        told=told,
    )


def asked(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """The earlier overrides, then the new ones; an earlier one is dropped if it names a directory or is set anew."""
    names = {_name(word) for word in now}
    # Set anew means left out: `+key=1 key=2`, or two choices of a group, would be refused.
    kept = [word for word in before if _name(word) not in (*names, *_OF_THE_PLACE)]
    return [*dict.fromkeys(kept), *now]


def _name(word: str) -> str:
    """The setting or the group that an override is of."""
    return key_of(word).partition("@")[0]
