"""Sweeps of a Hydra program that knows nothing of shoal, in this process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

QUIET = ["hydra/job_logging=none", "hydra/hydra_logging=none"]


def swept(
    task: Callable[[Any], Any], config: str, words: Sequence[str], patch: pytest.MonkeyPatch, *, folder: Path
) -> list[JobReturn]:
    """What the jobs of a sweep of `task` return, the failed ones too; its configuration is the YAML text `config`."""
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "config.yaml").write_text(config)
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
        hydra.main(version_base="1.3", config_path=str(folder / "conf"), config_name="config")(task)()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    return found


def files(folder: Path) -> dict[str, bytes]:
    """What a sweep left, by path, those excepted in which a launcher is named."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("hydra.yaml", "multirun.yaml")
    }
