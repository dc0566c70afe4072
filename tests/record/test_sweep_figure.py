"""The figures that a sweep ends with: the sweep as a whole, and what its best and its median run have learned."""

from __future__ import annotations

import csv
import errno
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from commands import Ended, trained
from pictures import PIXEL
from shoal.record.figures.hue import strongest
from shoal.record.figures.sweep_contents import Drawn, Leader, Wording
from shoal.record.figures.sweep_curves import curve
from shoal.record.figures.sweep_figure import MOST_SETTINGS, sweep_figure
from shoal.review.catalog import find
from shoal.review.report.gather import gather
from shoal.rundir import SweepDir, read_info, read_sweep, verify
from shoal.sweeps import processes
from shoal.sweeps.processes import Beside, at_once

SMALL = ["task=parabola", "task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "trainer.max_epochs=2"]
WORDING = Wording(title="parabola  sweep: 4 runs", metric="val/loss", repeats="seeds")


def swept(path: Path, *overrides: str) -> Ended:
    return trained("-m", *SMALL, "sweep.processes=0", f"hydra.sweep.dir={path}", *overrides)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep in which a run diverges, and what it said in the end; its pictures are drawn two at a time."""
    path = tmp_path_factory.mktemp("ended") / "sweep"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("shoal.app.multirun.sweep_end.MANY", range(6, 7))
        patched.setattr(processes, "_warm", True)
        _, said, complained = swept(path, "optimizer=sgd", "optimizer.lr=1e-2,1e-1,1e9", "seed=0,1")
    assert "warning" not in complained
    return path, said


def drawn(settings: Sequence[Mapping[str, Any]], values: Sequence[float | None] | None = None) -> list[Drawn]:
    found = values or [1.0 + i for i in range(len(settings))]
    return [
        Drawn(run=f"{i:04d}", settings=each, value=value, curve=[(1, 3 * (value or 1)), (2, value or 1)])
        for i, (each, value) in enumerate(zip(settings, found, strict=True))
    ]


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_ylabel().startswith("best ")]


def labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def test_a_sweep_ends_with_its_figure_and_says_where_it_is(ended: tuple[Path, str]) -> None:
    path, said = ended

    assert SweepDir(path).figure.read_bytes().startswith(b"\x89PNG")
    assert str(SweepDir(path).figure) in said


def test_the_best_and_the_median_run_of_a_sweep_have_the_figure_of_a_run(
    ended: tuple[Path, str],
) -> None:
    path, _ = ended
    sweep = SweepDir(path)
    runs = [sweep.run(job) for job in read_sweep(sweep.info).jobs]
    infos = {run: read_info(run.info) for run in runs}
    bests = {run: info.best.value for run, info in infos.items() if info.best and info.status == "completed"}
    completed = sorted(bests, key=lambda run: bests[run])

    report = gather(find([path]), title="")

    with_figure = {run.path.name for run in runs if run.fit_figure.exists()}
    assert with_figure == {completed[0].path.name, completed[len(completed) // 2].path.name}
    assert all(verify(run.path, read_info(run.info).artifacts) == {} for run in runs)
    assert all("figures/fit.png" in read_info(run.info).artifacts for run in runs if run.fit_figure.exists())
    assert [picture.data is not None for picture in report.pictures] == [True, True]
    assert report.figure == "figures/sweep.png"


def test_where_no_process_can_be_started_the_work_beside_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(processes, "_warm", True)
    monkeypatch.setattr("multiprocessing.context.ForkServerProcess.start", refuse)
    beside = Beside()

    begun = beside.begin(os.getpid)

    assert (begun, beside.done(os.getpid)) == (False, os.getpid())


def test_without_a_server_of_processes_none_is_begun_for_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_warm", False)
    beside = Beside()

    begun = beside.begin(os.getpid)

    assert (begun, beside.done(os.getpid)) == (False, os.getpid())


def test_work_beside_is_done_there_and_here_once_that_process_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_warm", True)
    beside = Beside()

    begun = beside.begin(os.getpid)
    there = beside.done(os.getpid)
    with pytest.raises(ZeroDivisionError):
        beside.done(divmod, 1, 0)
    os.kill(there, signal.SIGKILL)
    here = beside.done(os.getpid)
    beside.end()

    assert begun
    assert (there != os.getpid(), here) == (True, os.getpid())


@pytest.mark.parametrize("copied", [True, False])
def test_what_is_done_at_once_raises_here_what_it_raises_in_a_copy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, copied: bool
) -> None:
    monkeypatch.setattr(processes, "has_one_thread", lambda: copied)
    done = tmp_path / "done"

    with at_once(done.touch):
        before = done.exists()
        while copied and not done.exists():  # beside the block, which goes on when it is there
            time.sleep(0.01)
    with pytest.raises(ZeroDivisionError), at_once(divmod, 1, 0):
        pass

    assert done.exists()
    assert copied or not before


def test_each_swept_setting_but_a_seed_has_a_panel_with_a_fitting_scale() -> None:
    rates = [1e-3, 1e-2]
    sizes = [16, 32]
    jobs = [
        {"optimizer.lr": lr, "task.batch_size": size, "model.hidden": [size], "optimizer.weight_decay": decay}
        for lr in rates
        for size in sizes
        for decay in (0.0, 1e-4, 1e-2)
    ]

    figure = sweep_figure(drawn(jobs), list(jobs[0]), WORDING)

    assert {axes.get_xlabel(): axes.get_xscale() for axes in panels(figure)} == {
        "optimizer.lr": "log",
        "task.batch_size": "linear",
        "model.hidden": "linear",
        "optimizer.weight_decay": "linear",
    }
    named = {axes.get_xlabel(): [text.get_text() for text in axes.get_xticklabels()] for axes in panels(figure)}
    assert named["model.hidden"] == ["[16]", "[32]"]
    assert named["optimizer.weight_decay"] == ["0", "0.0001", "0.01"]


def test_runs_that_differ_in_their_seed_only_share_a_strip() -> None:
    figure = sweep_figure(drawn([{}, {}, {}]), [], WORDING)

    [strip] = panels(figure)
    assert [text.get_text() for text in strip.get_xticklabels()] == ["3 seeds"]


def test_one_run_has_its_curve_and_nothing_to_compare_it_with() -> None:
    figure = sweep_figure(drawn([{}]), [], WORDING)

    assert [labels(axes) for axes in figure.axes] == [["run 0000"]]


def test_runs_without_a_value_are_marked_where_their_settings_are() -> None:
    jobs = [{"optimizer.lr": lr} for lr in (0.1, 1.0, 1e9)]

    figure = sweep_figure(drawn(jobs, [1.0, 2.0, None]), ["optimizer.lr"], WORDING)

    [panel] = panels(figure)
    crosses = next(each for each in panel.collections if each.get_label() == "failed, diverged or nan")
    assert crosses.get_offsets().tolist() == [[1e9, 0.97]]  # type: ignore[union-attr]
    assert panel.get_xlim()[1] > 1e9


def test_all_runs_of_a_sweep_may_have_failed() -> None:
    jobs = [{"optimizer.lr": lr} for lr in (0.1, 1.0)]
    runs = [Drawn(run="0000", settings=each, value=None) for each in jobs]

    figure = sweep_figure(runs, ["optimizer.lr"], WORDING)

    assert len(panels(figure)) == 1


def test_few_configurations_are_drawn_one_by_one_and_many_as_percentiles() -> None:
    few = drawn([{"optimizer.lr": lr} for lr in (0.1, 0.1, 1.0, 1.0)])
    many = drawn([{"optimizer.lr": 0.1 + i} for i in range(3000)])

    best = Leader(run="0000", settings=few[0].settings, value=1.0)
    of_few = sweep_figure(few, ["optimizer.lr"], WORDING, best).axes[-1]
    of_many = sweep_figure(many, ["optimizer.lr"], WORDING, best).axes[-1]

    assert labels(of_few) == ["lr=0.1", "lr=1", "best run, 0000"]
    assert len(of_few.collections) == 2
    assert "25 to 75 %" in labels(of_many)[1]
    assert len(of_many.lines) == 2


def test_the_median_of_runs_of_unequal_length_is_of_those_still_training() -> None:
    lengths = [2, 4, 8]
    runs = [Drawn(run=str(n), settings={}, value=1.0 / n, curve=[(i, 1.0) for i in range(1, n + 1)]) for n in lengths]

    axes = sweep_figure(runs, [], WORDING).axes[-1]

    assert "median of those still training" in labels(axes)


def halving(n_runs: int) -> list[Drawn]:
    """Runs of two settings, of which halving stops all but the first of each after two steps; they rise from 1 to 8."""
    lengths = [8 if run < 2 else 2 for run in range(n_runs)]
    return [
        Drawn(
            run=f"{run:04d}",
            settings={"optimizer.lr": [0.1, 1.0][run % 2]},
            value=1.0 + run,
            halved=length == 2,
            curve=[(step, float(step + run)) for step in range(1, length + 1)],
        )
        for run, length in enumerate(lengths)
    ]


def test_curves_end_where_their_runs_do_and_means_with_their_first_run() -> None:
    axes = sweep_figure(halving(6), ["optimizer.lr"], WORDING).axes[-1]

    means = [line for line in axes.get_lines() if str(line.get_label()).startswith("lr=")]
    further = [line for line in axes.get_lines() if line not in means]
    assert [list(line.get_xdata()) for line in means] == [[1, 2], [1, 2]]
    assert [list(line.get_ydata()) for line in means] == [[3, 4], [4, 5]]
    assert [list(line.get_xdata()) for line in further] == [[2, 3, 4, 5, 6, 7, 8]] * 2


@pytest.mark.parametrize(("worst", "title", "middle"), [(1e3, "median and quartiles", 2.0), (3.0, "mean and std", 2.0)])
def test_one_bad_run_makes_no_other_curve_of_a_group_on_a_logarithmic_axis(
    worst: float, title: str, middle: float
) -> None:
    jobs = [{"optimizer.lr": lr} for lr in (0.1, 1.0) for _ in range(3)]
    found = [1.0, 2.0, worst] * 2

    axes = sweep_figure(
        [replace(each, curve=[(1, value), (2, value)]) for each, value in zip(drawn(jobs, found), found, strict=True)],
        ["optimizer.lr"],
        WORDING,
    ).axes[-1]

    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == f"{title} over seeds"
    assert [list(line.get_ydata()) for line in axes.get_lines()] == [[middle, middle]] * 2


def test_a_median_of_many_runs_breaks_off_where_halving_leaves_few() -> None:
    axes = sweep_figure(halving(60), [], WORDING).axes[-1]

    (line,) = [line for line in axes.get_lines() if "of those still training" in str(line.get_label())]
    steps = np.asarray(line.get_xdata())
    assert [step for step in steps if not np.isnan(step)] == list(range(1, 9))
    assert np.flatnonzero(np.isnan(steps)).tolist() == [2]


def test_runs_that_halving_stopped_are_marked_and_left_out_of_the_medians() -> None:
    (panel,) = panels(sweep_figure(halving(6), ["optimizer.lr"], WORDING))

    (hollow,) = [each for each in panel.collections if each.get_label() == "stopped by halving"]
    assert len(hollow.get_offsets()) == 4
    assert "median" not in labels(panel)


def test_settings_that_find_no_room_are_named() -> None:
    names = [f"task.x{i}" for i in range(MOST_SETTINGS + 2)]
    jobs = [dict.fromkeys(names, i) for i in range(2)]

    figure = sweep_figure(drawn(jobs), names, WORDING)

    assert len(panels(figure)) == MOST_SETTINGS
    assert "2 more settings: task.x7, task.x8" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("over", "label", "at"), [(None, "best run, 0001", 0.9), ("best mean over seeds",) * 2 + (0.7,)]
)
def test_the_star_is_at_the_best_mean_or_where_there_is_none_at_the_best_run(
    over: str | None, label: str, at: float
) -> None:
    runs = drawn([{"optimizer.lr": 0.1}, {"optimizer.lr": 1.0}], [0.5, 0.9])
    best = Leader(run="0001", settings={"optimizer.lr": 1.0}, value=at, over=over)

    figure = sweep_figure(runs, ["optimizer.lr"], Wording(title="", metric="val/accuracy", rises=True), best)

    (star,) = [each for each in panels(figure)[0].collections if each.get_label() == label]
    assert [list(place) for place in star.get_offsets()] == [[1.0, at]]
    assert any("0001" in each for each in labels(figure.axes[-1]))


def test_a_curve_leaves_out_what_was_not_measured_or_is_no_number() -> None:
    rows = [{"step": 1, "val/loss": 2.0}, {"step": 2}, {"step": 3, "val/loss": float("inf")}]

    assert curve(rows, "val/loss") == [(1, 2.0)]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(figure: Figure) -> bytes:
        raise ValueError("no ink")

    monkeypatch.setattr("shoal.pictures.rendering.png", fail)


@pytest.mark.usefixtures("broken")
def test_a_sweep_is_no_worse_for_a_figure_that_cannot_be_drawn(tmp_path: Path) -> None:
    code, said, complained = swept(tmp_path / "sweep", "seed=0,1")

    assert code == 0
    assert "2 completed" in said
    assert "warning: no figure: ValueError: no ink" in complained


def test_jobs_of_before_have_the_settings_that_are_swept_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.pictures.rendering.png", lambda figure: PIXEL)
    path = tmp_path / "sweep"
    swept(path, "seed=0,1")

    swept(path, "seed=0", "optimizer=adam,sgd")

    rows = list(csv.DictReader(SweepDir(path).summary.read_text().splitlines()))
    assert [(row["seed"], row["optimizer"]) for row in rows] == [("0", "adam"), ("1", ""), ("0", "sgd")]


def crossed(**values: list[object]) -> list[Drawn]:
    """A run for each combination; the optimizer matters most, the activation hardly."""
    levels = {"adam": 1e-3, "sgd": 1e-1, "relu": 1.0, "tanh": 1.3}
    found = []
    for number, each in enumerate(product(*values.values())):
        value = prod(levels.get(str(word), 1.0 + number / 100) for word in each)
        found.append(Drawn(run=f"{number:04}", settings=dict(zip(values, each, strict=True)), value=value))
    return found


@pytest.mark.parametrize(
    ("values", "hue", "n_lines"),
    [
        ({"optimizer": ["adam", "sgd"], "lr": [0.1, 1.0, 10.0]}, "optimizer", 2),
        ({"act": ["relu", "tanh"], "optimizer": ["adam", "sgd"], "lr": [0.1, 1.0]}, "optimizer", 0),
        ({"lr": [0.1, 1.0, 10.0]}, None, 1),
        ({"lr": [0.1, 1.0, 10.0], "width": [8, 16]}, None, 0),
    ],
)
def test_runs_are_colored_by_what_matters_most_and_no_line_joins_pooled_ones(
    values: dict[str, list[object]], hue: str | None, n_lines: int
) -> None:
    runs = [*crossed(**values), *(replace(each, run=f"{each.run}b") for each in crossed(**values))]

    found = strongest(runs, list(values))
    figure = sweep_figure(runs, list(values), Wording(title="a sweep", metric="val/loss"))

    panel = figure.axes[list(values).index("lr")]
    joined = [line for line in panel.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]
    assert (found.key if found else None) == hue
    assert len(joined) == n_lines
