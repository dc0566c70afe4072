"""Sweeps of a Hydra program that knows nothing of shoal, in this process."""

from __future__ import annotations

import csv
import logging
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from torch import Tensor

QUIET = ["hydra/job_logging=none", "hydra/hydra_logging=none"]


def swept(
    task: Callable[[Any], Any], config: str, words: Sequence[str], patch: pytest.MonkeyPatch, *, folder: Path
) -> list[JobReturn]:
    """What the jobs of a sweep of `task` return, the failed ones too; its configuration is the YAML text `config`."""
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "config.yaml").write_text(config)
    program = hydra.main(version_base="1.3", config_path=str(folder / "conf"), config_name="config")(task)
    return returned(program, words, patch, folder=folder)


def returned(
    program: Callable[[], Any], words: Sequence[str], patch: pytest.MonkeyPatch, *, folder: Path
) -> list[JobReturn]:
    """What the jobs of a sweep return that a program runs in this folder, whose command line has these words."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[JobReturn] = []

    instantiated = Plugins.instantiate_launcher

    def recorded(*args: Any, **kwargs: Any) -> Launcher:
        launcher = instantiated(*args, **kwargs)
        launch = launcher.launch

        def launched(overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
            found.extend(launch(overrides, initial_job_idx))
            return []  # the first failure would end the program

        launcher.launch = launched  # type: ignore[method-assign]
        return launcher

    handlers, level = logging.root.handlers[:], logging.root.level
    with patch.context() as patched:
        patched.chdir(folder)
        patched.setattr(Plugins, "instantiate_launcher", recorded)
        patched.setattr(sys, "argv", [str(folder / "program.py"), "-m", *QUIET, *words])
        program()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    return found


def files(folder: Path) -> dict[str, bytes]:
    """What a sweep left, by path, those excepted in which a launcher is named."""
    return {name: path.read_bytes() for name, path in _paths(folder).items()}


def _paths(folder: Path) -> dict[str, Path]:
    """By what they are called in any sweep: event files have the time and the process in their names."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("hydra.yaml", "multirun.yaml"):
            name = re.sub(r"(?<=tfevents\.).*", "", str(path.relative_to(folder)))
            found[f"{name}{len([each for each in found if each.startswith(name)])}" if name[-1] == "." else name] = path
    return found


def differences(mine: Path, theirs: Path, *, but: Sequence[str] = ()) -> list[str]:
    """In what two sweeps differ: files, and what those with numbers in them hold beyond 1e-5 of each number.

    Of checkpoints what these keys hold is not looked at.
    """
    names, others = _paths(mine), _paths(theirs)
    found = [f"only one has {name}" for name in sorted(names.keys() ^ others.keys())]
    readers = {".ckpt": partial(_checkpoint, but), ".csv": _table, "tfevents": _events}
    for name in sorted(names.keys() & others.keys()):
        for kind, read in readers.items():
            if kind in name:
                found += _unlike(read(names[name]), read(others[name]), name)
    return found


def _checkpoint(but: Sequence[str], path: Path) -> dict[str, Any]:
    held = torch.load(path, weights_only=False)
    return {key: value for key, value in held.items() if key not in but}


def _events(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # late: it takes a second

    events = EventAccumulator(str(path)).Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _table(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return [{name: float(value) if value else None for name, value in row.items()} for row in csv.DictReader(file)]


def _unlike(one: Any, other: Any, where: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        if list(one) != list(other):
            return [f"{where}: {list(one)} and {list(other)}"]
        return [text for key in one for text in _unlike(one[key], other[key], f"{where} {key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [f"{where}: {len(one)} and {len(other)}"]
        return [t for n, (a, b) in enumerate(zip(one, other, strict=True)) for t in _unlike(a, b, f"{where} {n}")]
    if isinstance(one, Tensor) and isinstance(other, Tensor) and one.is_floating_point():
        same = one.dtype == other.dtype and torch.allclose(one, other, rtol=1e-5, atol=1e-9, equal_nan=True)
        return [] if same else [f"{where}: {one} and {other}"]
    if isinstance(one, float) and isinstance(other, float):
        return [] if one == pytest.approx(other, rel=1e-5, abs=1e-9, nan_ok=True) else [f"{where}: {one} and {other}"]
    same = torch.equal(one, other) if isinstance(one, Tensor) else one == other
    return [] if same else [f"{where}: {one} and {other}"]
