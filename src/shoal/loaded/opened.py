"""A run that lies in its directory, as live objects again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.build.trust import refuse_strangers
from shoal.errors import UsageError
from shoal.rundir import RunDir, RunInfo, read_config, read_info


@dataclass(frozen=True)
class OpenedRun:
    """A run directory, read."""

    run: RunDir
    info: RunInfo
    config: dict[str, Any]


def open_run(path: Path, *, trusted: Collection[str] = ()) -> OpenedRun:
    """What a run directory says; a training that goes on has loggers too, whose classes nobody has looked at here.

    Raises:
        UsageError: where it is none, or a check, or its configuration names code that is not trusted.
        DamagedError: where one of its files is not what was written.
    """
    run = RunDir(path)
    if not run.info.is_file():
        raise UsageError(f"{path} is not a run directory: there is no run.json", hint=_what_is_there(path))
    info = read_info(run.info)
    config = read_config(run.config)
    if config.get("check") is not None:
        raise UsageError(f"{path} is a check: there is no model in it", hint=f"what it measured: shoal show {path}")
    # Here, so that whoever has an `OpenedRun` may build from it.
    refuse_strangers(untold(config), trusted)
    return OpenedRun(run, info, config)


def untold(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without its loggers: they are told of a training, and none is to come."""
    return {**config, "logger": {}}


def _what_is_there(path: Path) -> str:
    if not path.exists():
        return f"there is no {path}; the working directory is {Path.cwd()}"
    if path.is_file():
        return "that is a file; give the directory of the run"
    names = sorted(each.name for each in path.iterdir())[:5]
    return f"it holds {', '.join(names)}" if names else "it is empty"
