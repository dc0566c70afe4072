"""Experiments with small PyTorch models: one run or hundreds, from configuration.

run = shoal.train(["task=parabola", "optimizer.lr=0.01"])
run.metrics, run.predict([0.5]), run.figure
shoal.load("outputs/parabola/20261122-101530-k3f9x2")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shoal.aliases import install
from shoal.instructions import prepare

if TYPE_CHECKING:
    from shoal.app.python import sweep, train
    from shoal.loaded.run import Run, load
    from shoal.loaded.sweep import Sweep

_HOMES = {
    "Run": "shoal.loaded.run",
    "Sweep": "shoal.loaded.sweep",
    "load": "shoal.loaded.run",
    "sweep": "shoal.app.python",
    "train": "shoal.app.python",
}

__all__ = ["Run", "Sweep", "load", "sweep", "train"]

# Of any part of shoal this runs first, so before shoal imports torch or Lightning, and in every process of its own.
prepare()
install()


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: `import shoal` costs next to nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("shoal")
    if name not in _HOMES:
        raise AttributeError(f"module 'shoal' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
