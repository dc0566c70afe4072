"""Run and sweep directories made up through shoal.rundir, hundreds a second: what review is tested on."""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from shoal.rundir import (
    Best,
    History,
    JobInfo,
    RunDir,
    RunInfo,
    Status,
    SweepDir,
    SweepInfo,
    seal,
    write_info,
    write_sweep,
)

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
VERSIONS = {"python": "3.11.7", "shoal": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"}
HARDWARE = {"platform": "Linux", "processor": "x86_64", "cores": 2, "accelerator": "cpu"}
_numbers = itertools.count()


def png(width: int = 48, height: int = 32, shade: int = 0) -> bytes:
    """A small picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((x * 5 + y * 3 + shade) % 256 for x in range(width)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def curve(epochs: int, *, lr: float, seed: int) -> list[dict[str, float]]:
    """Losses that fall as fast as the learning rate lets them, to a level that depends on the seed."""
    speed = 40 * lr / (1 + (lr / 0.02) ** 2)
    floor = 9e-4 * (1 + 0.3 * math.sin(seed * 2.7)) + 2 * lr**2
    rows = []
    for epoch in range(epochs):
        loss = 0.2 * math.exp(-speed * (epoch + 1)) + floor
        jitter = 1 + 0.02 * math.sin(epoch * 1.7 + seed)
        rows.append({"step": 13 * (epoch + 1), "epoch": epoch, "train/loss": loss, "val/loss": loss * 1.05 * jitter})
    return rows


def make_run(
    root: Path,
    *,
    name: str | None = None,
    task: str = "parabola",
    status: Status = Status.COMPLETED,
    settings: Mapping[str, Any] | None = None,
    differs: Mapping[str, Any] | None = None,
    rows: Sequence[Mapping[str, float]] | None = None,
    epochs: int = 12,
    figure: bool = True,
    path: Path | None = None,
    **fields: Any,
) -> RunDir:
    """A run directory with a config, a history, checkpoints, a figure, and run.json."""
    number = next(_numbers)
    began = START + timedelta(minutes=number)
    name = name or f"{began:%Y%m%d-%H%M%S}-{_letters(number)}"
    run = RunDir(path or root / task / name)
    chosen = {"optimizer.lr": 0.01, "seed": 0, **(settings or {})}
    history = History(run.history)
    for row in curve(epochs, lr=float(chosen["optimizer.lr"]), seed=int(chosen["seed"])) if rows is None else rows:
        history.add(row)
    run.checkpoints.mkdir(parents=True)
    history.flush()
    run.config.write_text(yaml.safe_dump(config(chosen), sort_keys=False))
    for checkpoint in (run.last, run.best):
        checkpoint.write_bytes(b"weights of " + name.encode())
    if figure:
        run.figures.mkdir()
        run.fit_figure.write_bytes(png(shade=number * 7))
    values = {
        "id": name,
        "task": task,
        "status": status,
        "engine": "vectorized",
        "seed": chosen["seed"],
        "command": ["train.py", f"task={task}", *(f"{key}={value}" for key, value in chosen.items())],
        "overrides": [f"task={task}", *(f"{key}={value}" for key, value in chosen.items())],
        "choices": {"task": task, "model": "mlp", "optimizer": "adam"},
        "differs": dict(differs or {}),
        "started": began.isoformat(),
        "ended": (began + timedelta(seconds=3)).isoformat(),
        "seconds": 3.0 + number % 7,
        "epochs": len(history.rows),
        "steps": int(history.rows[-1]["step"]) if history.rows else 0,
        "parameters": 1153,
        "trainable": 1153,
        "final": {key: value for key, value in (history.rows or [{}])[-1].items() if key not in ("step", "epoch")},
        "best": _best(history.rows),
        "git": {"commit": "4bebb5b" + "0" * 33, "dirty": False},
        "versions": VERSIONS,
        "hardware": HARDWARE,
        "artifacts": seal(run.path, run.artifacts()),
    }
    write_info(run.info, RunInfo(**{**values, **fields}))
    return run


def make_sweep(
    root: Path,
    grid: Mapping[str, Sequence[Any]],
    *,
    task: str = "parabola",
    diverged: Sequence[int] = (),
    failed: Sequence[int] = (),
    pending: Sequence[int] = (),
    each: Mapping[int, Mapping[str, Any]] | None = None,
    **fields: Any,
) -> SweepDir:
    """A sweep over the grid, the last setting fastest; `diverged`, `failed` and `pending` are numbers of jobs.

    `fields` are those of every run, `each` of some by number.
    """
    number = next(_numbers)
    began = START + timedelta(minutes=number)
    name = f"{began:%Y%m%d-%H%M%S}-{_letters(number)}"
    sweep = SweepDir(root / task / name)
    sweep.path.mkdir(parents=True)
    jobs = []
    for job, cell in enumerate(itertools.product(*grid.values())):
        differs = dict(zip(grid, cell, strict=True))
        status, reason = Status.COMPLETED, None
        if job in diverged:
            status, reason = Status.DIVERGED, "train/loss is nan at step 39"
        if job in failed:
            status, reason = Status.FAILED, "ValueError: the task drew no samples"
        folder = f"{job:04d}"
        if job not in pending:
            make_run(
                root,
                name=f"{name}-{folder}",
                path=sweep.path / folder,
                task=task,
                settings=differs,
                differs=differs,
                sweep=name,
                job=job,
                **{
                    "status": status,
                    "reason": reason,
                    "rows": [] if status is Status.FAILED else None,
                    **fields,
                    **(each or {}).get(job, {}),
                },
            )
        overrides = [f"{key}={value}" for key, value in differs.items()]
        ended = None if job in pending else status
        jobs.append(JobInfo(job, folder, f"{job:064x}", differs, overrides, ended, reason))
    words = [f"{key}={','.join(map(str, values))}" for key, values in grid.items()]
    info = SweepInfo(
        id=name,
        task=task,
        status=Status.INTERRUPTED if pending else Status.FAILED if failed or diverged else Status.COMPLETED,
        command=["train.py", "-m", f"task={task}", *words],
        overrides=[f"task={task}", *words],
        varies=list(grid),
        started=began.isoformat(),
        ended=(began + timedelta(minutes=1)).isoformat(),
        seconds=60.0,
        jobs=jobs,
    )
    write_sweep(sweep.info, info)
    return sweep


def config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A nested configuration with these dotted settings in it."""
    nested: dict[str, Any] = {
        "task": {"_target_": "shoal.tasks.Parabola", "n_samples": 2048, "noise": 0.03, "domain": [-1, 1]},
        "model": {"_target_": "shoal.models.MLP", "hidden": [32, 32], "activation": "relu"},
        "optimizer": {"_target_": "shoal.optimizers.Adam", "lr": 0.001, "eps": 1e-8},
        "trainer": {"max_epochs": 100, "precision": "32-true"},
        "seed": 0,
    }
    for name, value in settings.items():
        place = nested
        *folders, last = name.split(".")
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return nested


def _best(rows: Sequence[Mapping[str, float]]) -> Best | None:
    if not rows or "val/loss" not in rows[0]:
        return None
    best = min(rows, key=lambda row: row["val/loss"])
    return Best("val/loss", "min", best["val/loss"], int(best["epoch"]), int(best["step"]))


def _letters(number: int) -> str:
    """Six letters that differ early from one number to the next; never i, l or o, which names of tests have."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    mixed = number * 514229 % 31**6
    return "".join(letters[mixed // 31**place % 31] for place in range(6))
