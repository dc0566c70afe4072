"""The picture of a run: data, truth and prediction; residuals; loss curves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from shoal.engines.job import Job
from shoal.errors import brief
from shoal.judging import counterpart, direction, shown_curves
from shoal.models import FormulaNetwork
from shoal.names import STEP
from shoal.pictures import Bars, Chart, Confusion, Dots, Level, Line, Mark, Panel
from shoal.pictures.beside import drawn
from shoal.record.checkpoints.checkpoint_file import load
from shoal.record.conclusion import predicted
from shoal.record.derivative import grid, slopes
from shoal.record.figures.colors import BLUE, COLORS, DARK, GRAY, ORANGE
from shoal.record.figures.dots import area, dot
from shoal.record.figures.formula_panel import formula_panel
from shoal.rundir import History, RunDir, RunInfo, claim, read_history, read_info, seal, write_bytes, write_info
from shoal.tasks import Data, Network, Split, Supervised, Task
from shoal.tasks.assessment import Assessment

log = logging.getLogger("shoal")

N_POINTS = 2000
"""Samples drawn at most."""


def illustrate(run: RunDir, module: Supervised, data: Data, history: History, info: RunInfo) -> bytes:
    """Draw what a run has learned, into its directory; the picture."""
    picture = drawn(fit_chart(module, data, history, title=f"{info.task}  {info.id}", info=info))
    write_bytes(run.fit_figure, picture)
    return picture


def illustrate_later(run: RunDir, job: Job) -> None:
    """Draw what a run has learned that came to its end without a figure, from its best state.

    Raises:
        DamagedError: where one of its files is not what was written.
        UsageError: where another process trains there.
    """
    # run.json is read and written again below: nobody may train there meanwhile.
    with claim(run):
        info = read_info(run.info)
        weights = load(run.best if run.best.exists() else run.last)["state_dict"]
        module = job.module_for(weights)
        module.load_state_dict(weights)
        illustrate(run, job.presented(module), job.data, read_history(run.history), info)
        write_info(run.info, replace(info, artifacts=info.artifacts | seal(run.path, [run.fit_figure])))


def fit_chart(module: Supervised, data: Data, history: History, *, title: str, info: RunInfo | None = None) -> Chart:
    """What the model has learned: no residuals without inputs, a panel of slopes where the true function is known.

    Of a LightningModule whose batches or outputs are of another kind, the losses alone.
    """
    if isinstance(module.model, Network) and not _comparable(module, data):
        return Chart(title=title, panels=_curves(history), width=6)
    derivatives = slopes(module, data)
    fit, *residuals = _learned(module, data, history, info)
    slope = [_slopes(module.task, data, *derivatives)] if derivatives else []
    return Chart(title=title, panels=[fit, *slope, *residuals, *_curves(history)], width=4)


def _learned(module: Supervised, data: Data, history: History, info: RunInfo | None) -> list[Panel]:
    """The fit, and beside it how far it is off."""
    samples, part = (data.val, "validation") if data.val else (data.train, "training")
    assessment = None if samples.y.is_floating_point() else module.task.assess(predicted(module, samples.x.cpu()))
    if assessment:
        counts = Confusion(counts=assessment.confusion, names=[score.name for score in assessment.classes])
        title = f"Confusion of {assessment.samples} samples"
        return [Panel(marks=[counts], title=title), _accuracies(assessment)]
    # Without inputs (a minimum that is searched) there are no residuals to draw.
    if not data.features:
        return [_path(history, data.targets[0], module.task)]
    x, y = samples.x[:N_POINTS].cpu(), samples.y[:N_POINTS].cpu()
    prediction = predicted(module, x)
    network, label = module.model, module.task.label
    off_by = label("prediction - target", of=data.targets[0])
    if isinstance(network, FormulaNetwork) and len(network.places) == 1 and info is not None and info.fit:
        off = prediction - y.reshape(prediction.shape)
        # A weight of 0 stands where a target was not measured; nan is not drawn.
        if samples.weight is not None and samples.weight.dim() == 2:
            off = torch.where(samples.weight[:N_POINTS].cpu() > 0, off, torch.nan)
        [(column, place)] = network.places.items()
        # Of groups each has the color of its curve, and the first target alone is drawn, as there.
        marks = x[:, list(network.marks)] > 0
        off = torch.where(marks, off[:, :1], torch.nan) if network.groups else off
        residuals = _residuals(x[:, place], off, label(column), off_by, part)
        return [formula_panel(network, module.loss, data, info.fit, label), residuals]
    if data.is_curve:
        y, prediction = (data.of_targets.in_own_units(values) for values in (y.reshape(prediction.shape), prediction))
        inputs = data.of_inputs.in_own_units(x)[:, 0]
        residuals = _residuals(inputs, (prediction - y)[:, :1], label(data.features[0]), off_by, part)
        return [_curve(module, data), residuals]
    y, prediction = (_in_own_units(module, values, data) for values in (y.reshape(prediction.shape), prediction))
    residuals = _residuals(prediction[:, 0], (prediction - y)[:, :1], "prediction", off_by, part)
    return [_scatter(y, prediction, label(data.targets[0]), part), residuals]


def _comparable(module: Supervised, data: Data) -> bool:
    """Whether the outputs of a LightningModule can be held beside the targets: a number for each of theirs."""
    if not data.targets:
        return False
    try:
        outputs = predicted(module, data.train.x[:2].cpu())
    except Exception as error:  # whatever it needs: it was written for batches of its own kind
        log.info("the figure shows the losses alone: %s", brief(error))
        return False
    return outputs.numel() == data.train.y[:2].numel()


def _curve(module: Supervised, data: Data) -> Panel:
    points = grid(data)
    x, y = _in_units(data.train, data)
    marks: list[Mark] = [Dots(x=x, y=y, area=area(len(x)), color=GRAY, opacity=0.5, label="training data")]
    if data.val is not None:
        x, y = _in_units(data.val, data)
        size = 1.5 * area(len(x))
        marks.append(Dots(x=x, y=y, area=size, color=DARK, opacity=0.8, hollow=True, label="validation data"))
    truth = module.task.truth(points)
    at = _numbers(points[:, 0])
    if truth is not None:
        marks.append(Line(x=at, y=_numbers(truth[:, 0]), color=ORANGE, width=2.5, label="true function"))
    prediction = data.of_targets.in_own_units(predicted(module, data.of_inputs.standard(points)))[:, 0]
    marks.append(Line(x=at, y=_numbers(prediction), color=BLUE, style="--", width=1.8, label="prediction"))
    label = module.task.label
    return Panel(marks=marks, x=label(data.features[0]), y=label(data.targets[0]), title="Fit", legend=True)


def _in_units(samples: Split, data: Data) -> tuple[Any, Any]:
    """Inputs and targets of as many samples as are drawn, a number each."""
    x, y = samples.x[:N_POINTS].cpu(), samples.y[:N_POINTS].cpu()
    targets = data.of_targets.in_own_units(y.reshape(len(x), -1))[:, 0]
    return _numbers(data.of_inputs.in_own_units(x)[:, 0]), _numbers(targets)


def _slopes(task: Task, data: Data, of_prediction: Tensor, of_truth: Tensor) -> Panel:
    x, y = data.features[0], data.targets[0]
    at = _numbers(grid(data)[:, 0])
    truth = Line(x=at, y=_numbers(of_truth), color=ORANGE, width=2.5, label="of the true function")
    learned = Line(x=at, y=_numbers(of_prediction), color=BLUE, style="--", width=1.4, label="of the prediction")
    return Panel(marks=[truth, learned], x=task.label(x), y=task.slope_label(y, x), title="Derivative", legend=True)


def _scatter(y: Tensor, prediction: Tensor, target: str, part: str) -> Panel:
    ends = [float(y.min()), float(y.max())]
    x, height = _numbers(y.reshape(-1)), _numbers(prediction.reshape(-1))
    same = Line(x=ends, y=ends, color=ORANGE, width=2, label="prediction = target")
    samples = Dots(x=x, y=height, area=area(len(y)), color=BLUE, label=f"{part} samples")
    title = "Prediction against target"
    return Panel(marks=[same, samples], x=f"target {target}", y="prediction", title=title, legend=True)


def _accuracies(assessment: Assessment) -> Panel:
    """The model beside the baselines."""
    rows = {"model": assessment.metrics, **assessment.baselines}
    names = [name.replace(" ", "\n") for name in rows]
    bars = Bars(names=names, heights=[metrics["accuracy"] for metrics in rows.values()], color=BLUE, others=GRAY)
    return Panel(marks=[bars], y="accuracy", title="Beside baselines", heights=(0, 1.1))


def _in_own_units(module: Supervised, values: Tensor, data: Data) -> Tensor:
    columns = module.task.decode(values, data)
    return torch.tensor([columns[name] for name in data.targets]).T


def _residuals(x: Tensor, residuals: Tensor, name: str, off_by: str, part: str) -> Panel:
    colors = COLORS if residuals.shape[1] > 1 else [BLUE]
    # More targets than colors: the first few are drawn, as their curves are.
    dots = [
        Dots(x=_numbers(x), y=_numbers(of_target), area=area(len(x)), color=color)
        for of_target, color in zip(residuals.unbind(1), colors, strict=False)
    ]
    marks = [Level(y=0, color=ORANGE, width=1), *dots]
    return Panel(marks=marks, x=name, y=off_by, title=f"Residuals of {part} samples", few_ticks=True)


def _path(history: History, name: str, task: Task) -> Panel:
    steps, values = _column(history, name)
    solution = task.solution
    marks: list[Mark] = [Line(x=steps, y=values, color=BLUE, dot=dot(len(values)), label=name)]
    if solution is not None:
        marks.append(Level(y=solution, color=ORANGE, style="--", label=f"solution {solution:.6g}"))
    return Panel(marks=marks, x="step", y=task.label(name), title=f"{name} found", legend=solution is not None)


def _curves(history: History) -> list[Panel]:
    """The losses; and beside them what the validation measured, where that is a score."""
    loss, of_val = shown_curves(history.columns)
    if of_val is None or direction(of_val) != "max":
        return [_panel(history, (loss, of_val), title="Loss", y="loss")]
    # A score is of another scale than the loss, and rises.
    scores = _panel(history, (counterpart(of_val, history.columns), of_val), title="Score", y=of_val)
    return [_panel(history, (loss, None), title="Loss", y="loss"), scores] if loss else [scores]


def _panel(history: History, names: tuple[str | None, str | None], *, title: str, y: str) -> Panel:
    """A metric of the training and one of the validation, at each step."""
    marks: list[Mark] = []
    every: list[float] = []
    for name, color, style in zip(names, (BLUE, ORANGE), ("-", "--"), strict=True):
        steps, values = _column(history, name) if name else ([], [])
        if values:
            marks.append(Line(x=steps, y=values, color=color, style=style, dot=dot(len(values)), label=name))
            every += values
    log_scale = wide(every)
    return Panel(marks=marks, x="step", y=y, title=title, legend=bool(marks), logarithmic=log_scale)


def wide(values: Sequence[float]) -> bool:
    """Whether a logarithmic scale suits these: all of them positive, and not all of one magnitude."""
    return bool(values) and 0 < min(values) < 0.2 * max(values)


def _column(history: History, name: str) -> tuple[Sequence[float], Sequence[float]]:
    rows = [row for row in history.rows if name in row]
    return [row[STEP] for row in rows], [row[name] for row in rows]


def _numbers(values: Tensor) -> Any:
    return values.numpy()
