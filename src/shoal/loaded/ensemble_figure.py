"""What the figure of an ensemble shows, gathered from its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoal.loaded.conformal import HeldOut
from shoal.loaded.evaluation import held_out
from shoal.record.derivative import grid
from shoal.record.figures.consensus import Consensus, Vote, class_figure, curve_figure, target_figure

if TYPE_CHECKING:
    import polars
    from matplotlib.figure import Figure

    from shoal.loaded.ensemble import Ensemble

SHARE = "5 % to 95 % of them"


def figure(ensemble: Ensemble) -> Figure:
    """The mean of what the runs of an ensemble say, and how far they differ."""
    columns = ensemble.columns()
    info = ensemble.first.info
    title = f"{info.task}  {ensemble.path.name}: {ensemble.title} together"
    if "classes" in columns.encoding:
        return _of_classes(ensemble, title)
    return _over_input(ensemble, title) if columns.is_curve else _of_test_part(ensemble, title)


def _over_input(ensemble: Ensemble, title: str) -> Figure:
    job = ensemble.first.job
    data, [feature], [target] = job.data, job.data.features, job.data.targets
    # Without the noise of samples: a grid all over the inputs.
    x = grid(data)
    truth = job.task.truth(x)
    samples = (
        data.of_inputs.in_own_units(data.train.x)[:, 0],
        data.of_targets.in_own_units(data.train.y.reshape(len(data.train), -1))[:, 0],
    )
    said = _said(ensemble, ensemble.predictions({feature: x[:, 0].tolist()}), target)
    labels = {"x": job.task.label(feature), "y": job.task.label(target)}
    return curve_figure(said, x[:, 0], samples, None if truth is None else truth[:, 0], labels, title)


def _of_test_part(ensemble: Ensemble, title: str) -> Figure:
    from shoal.loaded.ensemble import together

    columns, parts = ensemble.columns(), _test_parts(ensemble)
    target = columns.targets[0]
    said = _said(ensemble, together([part.predicted for part in parts], columns), target)
    label = ensemble.first.trained().task.label(target)
    return target_figure(said, parts[0].truth[target].to_list(), {"y": label}, title)


def _of_classes(ensemble: Ensemble, title: str) -> Figure:
    from shoal.loaded.ensemble import together

    parts = _test_parts(ensemble)
    every = [part.predicted for part in parts]
    target = every[0].columns[0]
    return class_figure(
        Vote(
            classes=parts[0].classes,
            said=together(every, ensemble.columns())[target].to_list(),
            members=[each[target].to_list() for each in every],
            truth=parts[0].truth[target].to_list(),
        ),
        title,
    )


def _test_parts(ensemble: Ensemble) -> list[HeldOut]:
    return [held_out(run, "best", what="the mean of several runs is shown") for run in ensemble.members]


def _said(ensemble: Ensemble, predicted: polars.DataFrame, target: str) -> Consensus:
    low, high = (predicted[f"{target}_{end}"].to_list() for end in ("q05", "q95"))
    mean, std = predicted[target].to_list(), predicted[f"{target}_std"].to_list()
    return Consensus(n=len(ensemble.members), mean=mean, low=low, high=high, std=std, share=SHARE)
