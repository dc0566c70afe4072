"""What a run was made with: the commit, the versions, the hardware."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
from typing import Any

import pytorch_lightning as pl
import torch

from shoal.engines import srun
from shoal.errors import brief
from shoal.machine import installed, processor

log = logging.getLogger("shoal")

PACKAGES = ("shoal", "torch", "hydra-core", "omegaconf", "numpy")


def versions() -> dict[str, str]:
    """Version of Python and of each package that a result may depend on."""
    lightning = pl.__version__  # type: ignore[attr-defined]  # maybe the one within `lightning`
    packages = {package: installed(package) for package in PACKAGES}
    return {"python": platform.python_version(), **packages, "pytorch-lightning": lightning}


def accelerator_of(trainer: pl.Trainer) -> str:
    """The kind of device that it trains on, as `trainer.accelerator` names it: cpu, gpu, mps."""
    return named_accelerator(type(trainer.accelerator).__name__)


def named_accelerator(kind: str) -> str:
    """What `trainer.accelerator` calls a kind of device that torch or Lightning names so."""
    return kind.removesuffix("Accelerator").lower().replace("cuda", "gpu")


def hardware(accelerator: str, devices: int, precision: str = "32-true") -> dict[str, Any]:
    """The machine, the devices used, and the `precision` in which they did compute, by Lightning's name for it."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if accelerator == "gpu" else []
    return {
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": accelerator,
        "devices": devices,
        "precision": precision,
        "gpus": gpus,
        **({"slurm": slurm} if (slurm := srun.whereabouts()) else {}),
    }


def working_tree() -> tuple[dict[str, Any] | None, str]:
    """The commit of the checkout in the working directory and whether it has changes, and these as a patch."""
    try:
        # Commit and changes by one process; to list untracked files too, git would walk through outputs/.
        status = _git("status", "--porcelain=v2", "--branch", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None, ""
    lines = status.splitlines()
    # In a repository without a commit git says `(initial)` itself, and has nothing to compare the files with.
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid")), "(initial)")
    dirty = any(not line.startswith("#") for line in lines)
    return {"commit": commit, "dirty": dirty}, _changes() if dirty and commit != "(initial)" else ""


def _changes() -> str:
    """What differs from the commit, as a patch; none where git cannot say."""
    try:
        # A diff program of the user's own would write what `git apply` does not read.
        return _git("diff", "HEAD", "--no-ext-diff")
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("the changes of the working tree are not kept: %s", brief(error))
        return ""


def _git(*words: str) -> str:
    # Else `git status` refreshes the index, under a lock that a command of the user's may want just then.
    # A checkout on a slow drive ends in the timeout: it costs the run its commit, not its training.
    command = ["git", "--no-optional-locks", *words]
    return subprocess.run(command, capture_output=True, check=True, text=True, errors="replace", timeout=10).stdout
