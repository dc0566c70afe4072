"""The directory that a run works in: that of its command, or with `hydra.job.chdir=true` its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from shoal.relative_paths import starting_at
from shoal.rundir import RunDir


@contextmanager
def in_its_directory(run: RunDir) -> Iterator[RunDir]:
    """Go on with a run in the working directory that it had; its path is another one from there.

    What a run of Hydra's finds by `hydra.utils.to_absolute_path` starts at the directory of this command.
    """
    # Read from the run's own record: the command that resumes it says nothing of it.
    record = run.hydra / "hydra.yaml"
    config: Any = OmegaConf.load(record) if record.is_file() and _may_change(record) else None
    if config is None or not config.hydra.job.chdir:
        yield run
        return
    here, before = Path.cwd(), HydraConfig.instance().cfg
    config.hydra.runtime.cwd = str(here)
    HydraConfig.instance().cfg = config
    try:
        with starting_at(here):
            os.chdir(run.path)
            # From the root: a relative path would start at the run's directory now.
            yield RunDir(here / run.path)
    finally:
        os.chdir(here)
        HydraConfig.instance().cfg = before


def _may_change(record: Path) -> bool:
    """Whether a run may have worked in another directory, by Hydra's record alone: a text stands for another value."""
    # OmegaConf takes five times as long for all that is in it, a hundredth of what a resume of a few epochs takes.
    plain = yaml.load(record.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return bool(plain["hydra"]["job"]["chdir"])
