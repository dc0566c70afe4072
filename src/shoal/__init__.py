"""Experiments with small PyTorch models: one run or hundreds, from configuration.

run = shoal.train(["task=parabola", "optimizer.lr=0.01"])
run.metrics, run.predict([0.5]), run.figure
shoal.load("last"), shoal.runs().table
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shoal.aliases import install
from shoal.instructions import prepare

if TYPE_CHECKING:
    from shoal.app.python import fit, sweep, train
    from shoal.loaded.addressed import load, runs
    from shoal.loaded.run import Run
    from shoal.loaded.sweep import Sweep

_HOMES = {
    "Run": "shoal.loaded.run",
    "Sweep": "shoal.loaded.sweep",
    "fit": "shoal.app.python",
    "load": "shoal.loaded.addressed",
    "runs": "shoal.loaded.addressed",
    "sweep": "shoal.app.python",
    "train": "shoal.app.python",
}

__all__ = ["Run", "Sweep", "fit", "load", "runs", "sweep", "train"]

# Of any part of shoal this runs first, so before shoal imports torch or Lightning, and in every process of its own.
prepare()
install()


def __dir__() -> list[str]:
    """What there is, for completion: most of it is not imported yet."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: `import shoal` costs next to nothing."""
    if name == "__version__":
        from shoal.machine import installed

        return installed("shoal")
    if name not in _HOMES:
        raise AttributeError(f"module 'shoal' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
