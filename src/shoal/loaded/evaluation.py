"""Measures a trained run again: on its validation samples, on its test part, or on a labelled table."""

from __future__ import annotations

import copy
import hashlib
import sys
from pathlib import Path
from typing import Any

import torch

from shoal.engines.job import Job
from shoal.engines.lightning import evaluate as measured
from shoal.errors import UsageError
from shoal.loaded.run import Run, Which
from shoal.loaded.table_file import table
from shoal.record.run_record import unchanged
from shoal.rundir.log import quiet_logging
from shoal.tasks import Split, Supervised
from shoal.tasks.precision import new_tensors
from shoal.tasks.tables import Restored


def evaluate(run: Run, which: Which = "best", *, test: bool = False, path: Path | None = None) -> dict[str, float]:
    """Metrics of the validation samples, of the test part, or of all rows of a labelled table in `path`.

    A table that is the one of the training, wherever it is now, stands for that one: of its rows those are measured
    that were held back, and that is said on stderr.

    Raises:
        UsageError: where there is no such part or table, or the file of the training has changed.
    """
    config = run.config
    if path is not None:
        if _digest(path) != run.info.digest or run.info.digest is None:
            return _of_table(run, which, path, test=test)
        part = "test" if test else "validation"
        print(f"{path} is what the run was trained on: measured are its {part} rows", file=sys.stderr)
        config = _moved(config, path)
    job = _job(run, config, test=test)
    module = run.loaded(job, which)
    with quiet_logging():
        return measured(job, module, test=test)


def _job(run: Run, config: dict[str, Any], *, test: bool) -> Job:
    """The job, its samples being those that the run was trained with."""
    with run.building():
        from shoal.build.job import job, task

        try:
            unchanged(run.info, task(config["task"]))
        except UsageError as error:
            raise UsageError(
                error.problem,
                hint=f"where it is now, or another table with targets: shoal eval {run.path} --input FILE",
            ) from error
        found = job({**config, "trainer": _here(config["trainer"])})
        if test and not found.tests:
            raise UsageError(
                f"{run.path} has no test part",
                hint="task.test_fraction or task.test_path keeps one; a table of yours: --input FILE",
            )
        return found


def _here(trainer: dict[str, Any]) -> dict[str, Any]:
    """The Trainer's settings for one device of this machine, whatever the run was trained on."""
    found = {**trainer, "devices": 1, "num_nodes": 1, "strategy": "auto"}
    if trainer.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
        print("there is no GPU here: measured on the CPU, where rounding differs", file=sys.stderr)
        found["accelerator"] = "cpu"
    return found


def _of_table(run: Run, which: Which, path: Path, *, test: bool) -> dict[str, float]:
    if test:
        raise UsageError("--test and --input do not go together", hint="--input measures all rows of another table")
    job = run.trained(which)
    if not isinstance(job.task, Restored):
        raise UsageError(f"--input is for tables; {run.path} was not trained on one")
    with new_tensors(double=job.double):
        samples = job.task.labelled(table(path, job.task.format).frame)
    shown = job.presented(run.loaded(job, which))
    return _measured(shown, job.weighted(samples))


def _measured(module: Supervised, samples: Split) -> dict[str, float]:
    """The loss and the task's own measures of all samples at once."""
    dtype = next(module.model.parameters()).dtype
    x, *targets = (each.to(dtype) if each.is_floating_point() else each for each in samples.tensors)
    with torch.no_grad():
        outputs = module(x)
        loss = module.measured(outputs, *targets)
    metrics = module.task.metrics(outputs, targets[0])
    return {"input/loss": float(loss), **{f"input/{name}": value for name, value in metrics.items()}}


def _digest(path: Path) -> str | None:
    try:
        with path.expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # what is wrong with it is told when it is read


def _moved(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The configuration with the table of the training at another place."""
    config = copy.deepcopy(config)
    node = config["task"]
    (node if "path" in node else node["samples"])["path"] = str(path)
    return config
