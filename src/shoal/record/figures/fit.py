"""The figure of a run: data, truth and prediction; residuals; loss curves."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from shoal.engines.job import Job
from shoal.errors import brief
from shoal.judging import loss_curves
from shoal.models import FormulaNetwork
from shoal.names import STEP
from shoal.record.checkpoint_file import load
from shoal.record.conclusion import predicted
from shoal.record.derivative import grid, slopes
from shoal.record.figures.colors import BLUE, COLORS, DARK, GRAY, ORANGE
from shoal.record.figures.confusion import draw_confusion
from shoal.record.figures.formula import draw_formula
from shoal.rundir import History, RunDir, RunInfo, claim, read_history, read_info, seal, write_bytes, write_info
from shoal.tasks import Data, Network, Split, Supervised, Task
from shoal.tasks.assessment import Assessment

log = logging.getLogger("shoal")

N_POINTS = 2000
"""Samples drawn at most."""


def illustrate(run: RunDir, module: Supervised, data: Data, history: History, info: RunInfo) -> bytes:
    """Draw what a run has learned, into its directory; the picture."""
    picture = png(fit_figure(module, data, history, title=f"{info.task}  {info.id}", info=info))
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


def fit_figure(module: Supervised, data: Data, history: History, *, title: str, info: RunInfo | None = None) -> Figure:
    """What the model has learned: no residuals without inputs, a panel of slopes where the true function is known.

    Of a LightningModule whose batches or outputs are of another kind, the losses alone.
    """
    if isinstance(module.model, Network) and not _comparable(module, data):
        return _figure_of_losses(history, title)
    derivatives, label = slopes(module, data), module.task.label
    # Without inputs (a minimum that is searched) there are no residuals to draw.
    n = 4 if derivatives else 3 if data.features else 2
    # Not by pyplot, which keeps every figure that it makes and may look for a display.
    figure = Figure(figsize=(4 * n, 3.6), layout=ConstrainedLayoutEngine(w_pad=0.1))
    panels = figure.subplots(1, n)
    fit, residuals, losses = panels[0], panels[-2], panels[-1]
    if derivatives:
        _slopes(panels[1], module.task, data, *derivatives)
    figure.suptitle(title, fontsize=10)
    samples, part = (data.val, "validation") if data.val else (data.train, "training")
    assessment = None if samples.y.is_floating_point() else module.task.assess(predicted(module, samples.x.cpu()))
    if assessment:
        names = [score.name for score in assessment.classes]
        draw_confusion(fit, assessment.confusion, names, f"Confusion of {assessment.samples} samples")
        _accuracies(residuals, assessment)
    elif data.features:
        x = samples.x[:N_POINTS].cpu()
        y = samples.y[:N_POINTS].cpu()
        prediction = predicted(module, x)
        network = module.model
        if isinstance(network, FormulaNetwork) and len(network.places) == 1 and info is not None and info.fit:
            draw_formula(fit, network, module.loss, data, info.fit)
            [(column, place)] = network.places.items()
            named = data.targets[:1] if network.groups else data.targets
            fit.set(xlabel=label(column), ylabel=", ".join(map(label, named)))
            off = prediction - y.reshape(prediction.shape)
            # A weight of 0 stands where a target was not measured; nan is not drawn.
            if samples.weight is not None and samples.weight.dim() == 2:
                off = torch.where(samples.weight[:N_POINTS].cpu() > 0, off, torch.nan)
            _residuals(residuals, x[:, place], off, label(column), part)
        elif data.is_curve:
            _curve(fit, module, data)
            y, prediction = (
                data.of_targets.in_own_units(values) for values in (y.reshape(prediction.shape), prediction)
            )
            off = (prediction - y)[:, :1]
            _residuals(residuals, data.of_inputs.in_own_units(x)[:, 0], off, label(data.features[0]), part)
        else:
            y, prediction = (
                _in_own_units(module, values, data) for values in (y.reshape(prediction.shape), prediction)
            )
            _scatter(fit, y, prediction, label(data.targets[0]), part)
            _residuals(residuals, prediction[:, 0], (prediction - y)[:, :1], "prediction", part)
    else:
        _path(fit, history, data.targets[0], module.task)
    if data.features and not assessment:
        residuals.set_ylabel(label("prediction - target", of=data.targets[0]))
    _losses(losses, history)
    return figure


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


def _figure_of_losses(history: History, title: str) -> Figure:
    figure = Figure(figsize=(6, 3.6), layout=ConstrainedLayoutEngine(w_pad=0.1))
    figure.suptitle(title, fontsize=10)
    _losses(figure.subplots(), history)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a picture."""
    buffer = io.BytesIO()
    figure.set_dpi(110)
    # `savefig` lays it out, draws it into nothing, and draws it again.
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _curve(axes: Axes, module: Supervised, data: Data) -> None:
    points = grid(data)
    x, y = _in_units(data.train, data)
    axes.scatter(x, y, s=_size(len(x)), color=GRAY, alpha=0.5, linewidths=0, label="training data")
    if data.val is not None:  # hollow triangles: they can be told apart without colors
        x, y = _in_units(data.val, data)
        axes.scatter(
            x,
            y,
            s=1.5 * _size(len(x)),
            marker="^",
            facecolors="none",
            edgecolors=DARK,
            linewidths=0.7,
            alpha=0.8,
            label="validation data",
        )
    truth = module.task.truth(points)
    if truth is not None:
        axes.plot(points[:, 0], truth[:, 0], color=ORANGE, linewidth=2.5, label="true function")
    prediction = data.of_targets.in_own_units(predicted(module, data.of_inputs.standard(points)))[:, 0]
    axes.plot(points[:, 0], prediction, color=BLUE, linestyle="--", linewidth=1.8, label="prediction")
    label = module.task.label
    axes.set(xlabel=label(data.features[0]), ylabel=label(data.targets[0]), title="Fit")
    axes.legend(frameon=False, fontsize=8)


def _in_units(samples: Split, data: Data) -> tuple[Tensor, Tensor]:
    """Inputs and targets of as many samples as are drawn, a number each."""
    x, y = samples.x[:N_POINTS].cpu(), samples.y[:N_POINTS].cpu()
    return data.of_inputs.in_own_units(x)[:, 0], data.of_targets.in_own_units(y.reshape(len(x), -1))[:, 0]


def _slopes(axes: Axes, task: Task, data: Data, of_prediction: Tensor, of_truth: Tensor) -> None:
    x, y = data.features[0], data.targets[0]
    at = grid(data)[:, 0]
    axes.plot(at, of_truth, color=ORANGE, linewidth=2.5, label="of the true function")
    axes.plot(at, of_prediction, color=BLUE, linestyle="--", linewidth=1.4, label="of the prediction")
    axes.set(xlabel=task.label(x), ylabel=task.slope_label(y, x), title="Derivative")
    axes.legend(frameon=False, fontsize=8)


def _scatter(axes: Axes, y: Tensor, prediction: Tensor, target: str, part: str) -> None:
    ends = [float(y.min()), float(y.max())]
    axes.plot(ends, ends, color=ORANGE, linewidth=2, label="prediction = target")
    axes.scatter(
        y.reshape(-1),
        prediction.reshape(-1),
        s=_size(len(y)),
        color=BLUE,
        alpha=0.6,
        linewidths=0,
        label=f"{part} samples",
    )
    axes.set(xlabel=f"target {target}", ylabel="prediction", title="Prediction against target")
    axes.legend(frameon=False, fontsize=8)


def _accuracies(axes: Axes, assessment: Assessment) -> None:
    """The model beside the baselines."""
    rows = {"model": assessment.metrics, **assessment.baselines}
    accuracies = [metrics["accuracy"] for metrics in rows.values()]
    bars = axes.bar([name.replace(" ", "\n") for name in rows], accuracies, color=[BLUE, *[GRAY] * (len(rows) - 1)])
    axes.bar_label(bars, fmt="%.3f", fontsize=8)
    axes.set(ylim=(0, 1.1), ylabel="accuracy", title="Beside baselines")


def _in_own_units(module: Supervised, values: Tensor, data: Data) -> Tensor:
    columns = module.task.decode(values, data)
    return torch.tensor([columns[name] for name in data.targets]).T


def _residuals(axes: Axes, x: Tensor, residuals: Tensor, name: str, part: str) -> None:
    axes.axhline(0, color=ORANGE, linewidth=1)
    colors = COLORS if residuals.shape[1] > 1 else [BLUE]
    # More targets than colors: the first few are drawn, as their curves are.
    for of_target, color in zip(residuals.unbind(1), colors, strict=False):
        axes.scatter(x, of_target, s=_size(len(x)), color=color, alpha=0.6, linewidths=0)
    axes.set(xlabel=name, title=f"Residuals of {part} samples")
    axes.locator_params(axis="x", nbins=6)


def _path(axes: Axes, history: History, name: str, task: Task) -> None:
    steps, values = _column(history, name)
    solution = task.solution
    axes.plot(steps, values, color=BLUE, marker=_dot(len(values)), label=name)
    if solution is not None:
        axes.axhline(solution, color=ORANGE, linestyle="--", label=f"solution {solution:.6g}")
        axes.legend(frameon=False, fontsize=8)
    axes.set(xlabel="step", ylabel=task.label(name), title=f"{name} found")


def _losses(axes: Axes, history: History) -> None:
    axes.set(xlabel="step", ylabel="loss", title="Loss")
    drawn: list[float] = []
    for name, color, line in zip(loss_curves(history.columns), (BLUE, ORANGE), ("-", "--"), strict=True):
        steps, values = _column(history, name) if name else ([], [])
        if values:
            axes.plot(steps, values, color=color, linestyle=line, marker=_dot(len(values)), label=name)
            drawn += values
    if drawn:
        axes.legend(frameon=False, fontsize=8)
    scaled(axes, drawn)


def scaled(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic scale for values that it suits: all of them positive, and not all of one magnitude."""
    if values and 0 < min(values) < 0.2 * max(values):
        axes.set_yscale("log")


def _size(n: int) -> float:
    """Area of a dot, in square points, that is seen where there are few and leaves room where there are many."""
    return min(40.0, max(5.0, 1500.0 / n))


def _dot(n: int) -> str | None:
    """The mark of each point of a curve that has few: a line through one is not seen."""
    return "o" if n < 15 else None


def _column(history: History, name: str) -> tuple[Sequence[float], Sequence[float]]:
    rows = [row for row in history.rows if name in row]
    return [row[STEP] for row in rows], [row[name] for row in rows]
