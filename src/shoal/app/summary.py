"""What the terminal says of a run that has ended."""

from __future__ import annotations

import os
from pathlib import Path

from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR, TRAIN_LOSS, VAL_LOSS
from shoal.rundir import RunDir, RunInfo


def summary(run: RunDir, info: RunInfo) -> str:
    """Metrics, parameters, time and directory, a line each."""
    lines = [f"{info.task} {info.status} in {info.seconds:.1f} s: {info.epochs} epochs, {info.steps} steps"]
    first = [name for name in (VAL_LOSS, TRAIN_LOSS) if name in info.final]
    others = [name for name in info.final if name not in (*first, LR, GRAD_NORM, GRAD_NORM_CLIPPED)]
    rows = [(name, _metric(name, info)) for name in (*first, *others)]
    rows.append(("parameters", f"{info.parameters:,}"))
    path = _short(run.path)
    rows.append(("directory", path))
    if run.fit_figure.exists():
        rows.append(("figure", _short(run.fit_figure)))
    if run.events():
        rows.append(("tensorboard", f"tensorboard --logdir {path}"))
    width = max(len(name) for name, _ in rows)
    return "\n".join([*lines, *(f"  {name:<{width}}  {text}" for name, text in rows)])


def _metric(name: str, info: RunInfo) -> str:
    text = f"{info.final[name]:.6g}"
    if info.best and info.best.metric == name:
        text += f"   best {info.best.value:.6g} in epoch {info.best.epoch}"
    return text


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
