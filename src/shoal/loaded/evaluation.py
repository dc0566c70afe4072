"""Measures a trained run again: on its validation samples, on its test part, or on a labelled table."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from shoal.engines.job import Job
from shoal.engines.lightning import evaluate as measured
from shoal.errors import UsageError
from shoal.loaded.conformal import HeldOut
from shoal.loaded.opened import untold
from shoal.loaded.table_file import table
from shoal.loaded.trained_run import TrainedRun, Which
from shoal.record.run_record import unchanged
from shoal.rundir.log import quiet_logging
from shoal.tasks import Split, Supervised
from shoal.tasks.precision import new_tensors
from shoal.tasks.tables import Restored


def evaluate(
    run: TrainedRun, which: Which = "best", *, test: bool = False, path: Path | None = None
) -> dict[str, float]:
    """Metrics of the validation samples, of the test part, or of all rows of a labelled table in `path`.

    A table that is the one of the training, wherever it is now, stands for that one: of its rows those are measured
    that were held back, and that is said on stderr.

    Raises:
        UsageError: where there is no such part or table, or the file of the training has changed.
    """
    config = run.config
    if path is not None:
        # By content: the table of the training may have been moved.
        if _digest(path) != run.info.digest or run.info.digest is None:
            return _of_table(run, which, path, test=test)
        part = "test" if test else "validation"
        print(f"{path} is what the run was trained on: measured are its {part} rows", file=sys.stderr)
        config = _moved(config, path)
    job = _job(run, config, test=test)
    module = run.loaded(job, which)
    if job.own_module and not test and not job.validates:
        problem = f"{type(module).__name__} has no validation_step, or no samples for it: there is nothing to measure"
        raise UsageError(problem, hint=f"what its training measured: shoal show {run.path}")
    with quiet_logging():
        return measured(job, module, test=test)


def _job(run: TrainedRun, config: dict[str, Any], *, test: bool = False) -> Job:
    """The job, its samples being those that the run was trained with."""
    with run.building():
        from shoal.build.checked_job import job, task

        try:
            # Before the job is built: of another table other rows would be measured.
            unchanged(run.info, task(config["task"]))
        except UsageError as error:
            raise UsageError(
                error.problem,
                hint=f"where it is now, or another table with targets: shoal eval {run.path} --input FILE",
            ) from error
        found = job({**untold(config), "trainer": _here(config["trainer"])})
        if test and not found.tests:
            raise UsageError(
                f"{run.path} has no test part",
                hint="task.test_fraction or task.test_path keeps one; a table of yours: --input FILE",
            )
        return found


def _here(trainer: dict[str, Any]) -> dict[str, Any]:
    """The Trainer's settings for one device of this machine, whatever the run was trained on."""
    # One process: a measure over several needs as many samples in each.
    found = {**trainer, "devices": 1, "num_nodes": 1, "strategy": "auto"}
    if trainer.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
        print("there is no GPU here: measured on the CPU, where rounding differs", file=sys.stderr)
        found["accelerator"] = "cpu"
    return found


def evaluate_together(
    runs: Sequence[TrainedRun], which: Which, *, test: bool = False, path: Path | None = None
) -> dict[str, float]:
    """Metrics of the mean of what several runs say, in the units of the first one's outputs.

    Raises:
        UsageError: where neither the test part nor a table is to be measured, or there is no such thing.
    """
    if path is None and not test:
        problem = "each of its runs holds back other samples for validation: what one was not trained on, others were"
        raise UsageError(problem, hint="--test measures the test part, of task.test_fraction; --input a labelled table")
    found = [_rows_of(run, which, path, test=test) for run in runs]
    outputs = [_outputs(shown, samples) for shown, samples in found]
    shown, samples = found[0]
    data = [run.columns(which) for run in runs]
    if "classes" in data[0].encoding:
        # The mean of probabilities, as logarithms: what measures classes takes the softmax of them again.
        together = torch.stack([each.double().softmax(dim=1) for each in outputs]).mean(dim=0).log()
    else:
        own = [each.of_targets.in_own_units(values) for each, values in zip(data, outputs, strict=True)]
        together = data[0].of_targets.standard(torch.stack(own).double().mean(dim=0))
    return _measures(shown, samples, together.to(outputs[0].dtype), "test" if path is None else "input")


def held_out(run: TrainedRun, which: Which, *, what: str = "intervals are calibrated") -> HeldOut:
    """The predictions of a run for its test part, which all seeds and folds share, beside the truth.

    Raises:
        UsageError: where it has none; it says `what` that is for.
    """
    job = _job(run, run.config)
    if job.data.test is None:
        problem = f"{what} on a test part, and {run.path} has none"
        raise UsageError(problem, hint="task.test_fraction or task.test_path keeps one; a formula's need none")
    shown, samples, data = job.presented(run.loaded(job, which)), job.data.test, run.columns(which)
    classes = tuple(data.encoding.get("classes", ()))
    predicted = pl.DataFrame(shown.task.decode(_outputs(shown, samples), data))
    if classes:
        return HeldOut(
            predicted, pl.DataFrame({predicted.columns[0]: [classes[i] for i in samples.y.tolist()]}), classes
        )
    truth = data.of_targets.in_own_units(samples.y.double())
    return HeldOut(predicted, pl.DataFrame(truth.numpy(), schema=list(data.targets)))


def _of_table(run: TrainedRun, which: Which, path: Path, *, test: bool) -> dict[str, float]:
    shown, samples = _rows_of(run, which, path, test=test)
    return _measures(shown, samples, _outputs(shown, samples), "input")


def _rows_of(run: TrainedRun, which: Which, path: Path | None, *, test: bool) -> tuple[Supervised, Split]:
    """The trained module, with the rows of a labelled table, or with those of its test part."""
    if path is None:
        job = _job(run, run.config, test=True)
        if job.data.test is None:
            raise UsageError(f"the test part of {run.path} is no rows of inputs and targets")
        return job.presented(run.loaded(job, which)), job.weighted(job.data.test)
    if test:
        raise UsageError("--test and --input do not go together", hint="--input measures all rows of another table")
    job = run.trained(which)
    if not isinstance(job.task, Restored):
        raise UsageError(f"--input is for tables; {run.path} was not trained on one")
    with new_tensors(double=job.double):
        samples = job.task.labelled(table(path, job.task.format).frame)
    return job.presented(run.loaded(job, which)), job.weighted(samples)


def _outputs(module: Supervised, samples: Split) -> Tensor:
    dtype = next(module.model.parameters()).dtype
    with torch.no_grad():
        # All at once, as `val/NAME` of a training is.
        found: Tensor = module(samples.x.to(dtype) if samples.x.is_floating_point() else samples.x)
    return found


def _measures(module: Supervised, samples: Split, outputs: Tensor, part: str) -> dict[str, float]:
    """The loss and the task's own measures of all samples at once."""
    _, *targets = (each.to(outputs.dtype) if each.is_floating_point() else each for each in samples.tensors)
    with torch.no_grad():
        loss = module.measured(outputs, *targets)
    metrics = module.task.metrics(outputs, targets[0])
    return {f"{part}/loss": float(loss), **{f"{part}/{name}": value for name, value in metrics.items()}}


def _digest(path: Path) -> str | None:
    try:
        with path.expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # what is wrong with it is told when it is read


def _moved(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The configuration with the table of the training at another place."""
    # The run keeps its configuration, and gives the same one to whoever asks.
    config = copy.deepcopy(config)
    node = config["task"]
    (node if "path" in node else node["samples"])["path"] = str(path)
    return config
