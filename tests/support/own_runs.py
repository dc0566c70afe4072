"""Runs of code of the user's own, and the files that choose a LightningModule for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

import shoal
from shoal.loaded.run import Run

LOADERS = {"datamodule": {"_target_": "own_modules.Loaders", "generator": False}}
SAMPLES = {"samples": {"_target_": "shoal.tasks.Parabola", "n_samples": 100, "batch_size": 16}}


def write_task(
    name: str,
    module: str,
    data: dict[str, Any],
    *,
    optimizer: str = "own",
    library: str = "own_modules",
    given: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Let `task=name` train a module of a library, with these settings, on this data."""
    chosen = {"model": "own", "loss": "own", "optimizer": optimizer}
    content = {
        "defaults": [{f"override /{group}": choice} for group, choice in chosen.items()],
        "callbacks": {"progress": None},
        "task": {
            "_target_": "shoal.tasks.LightningTask",
            "seed": "${seed}",
            "module": {"_target_": f"{library}.{module}", **settings, **(given or {})},
            **data,
        },
    }
    path = Path(f"conf/task/{name}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# @package _global_\n" + yaml.safe_dump(content, sort_keys=False))


def trained(*settings: str) -> Run:
    """A run of five epochs, unless another length is among its settings."""
    lengths = ("trainer.max_epochs", "trainer.max_steps")
    length = [] if any(setting.startswith(lengths) for setting in settings) else ["trainer.max_epochs=5"]
    return Run(shoal.train([*settings, *length]).path, trusted=["own_modules"])
