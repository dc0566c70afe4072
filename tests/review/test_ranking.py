"""Settings are ranked by their means over seeds and folds, and said to differ only where that is more than chance."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from scipy import stats

from runs import make_run, make_sweep
from shoal.review.catalog import find
from shoal.review.entries import SweepEntry, runs
from shoal.review.ranking import Ranking
from shoal.review.reference import resolve
from shoal.review.report.gather import gather
from shoal.review.significance import holm, paired, student
from shoal.review.values import best_run, ranking
from shoal.rundir import Best, RunDir, SweepDir, read_info, read_sweep
from shoal.sweeps.summary import summarize

LUCKY, STEADY = [0.5, 0.9, 0.9, 0.9], [0.6, 0.61, 0.59, 0.6]
"""Losses of four seeds: the smallest of all is of the worse setting."""


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 31, 64])
@pytest.mark.parametrize("t", [0.0, 0.3, -1.0, 2.5, 12.0])
def test_students_distribution_is_that_of_scipy(t: float, freedom: int) -> None:
    assert student(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), abs=1e-12)


def test_pairs_are_compared_as_scipy_does_and_folds_more_carefully() -> None:
    differences = [0.3, -0.1, 0.4, 0.2, 0.25]

    plain, folded = paired(differences), paired(differences, folds=5)

    t = stats.ttest_1samp(differences, 0)
    assert plain == pytest.approx(t.pvalue)
    assert folded == pytest.approx(2 * stats.t.sf(t.statistic / math.sqrt(1 + 5 / 4), 4))


def test_differences_without_a_spread_are_chance_only_where_there_is_none() -> None:
    assert paired([0.0, 0.0, 0.0]) == 1.0
    assert paired([0.5, 0.5, 0.5]) == 0.0
    assert paired([0.5]) is None


def test_p_values_are_corrected_for_their_number_as_holm_has_it() -> None:
    assert holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx([0.03, 0.06, None, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def losses(root: Path, values: dict[float, list[float]], **fields: object) -> SweepDir:
    """A sweep over learning rates and seeds that came to these losses."""
    every = [loss for of_setting in values.values() for loss in of_setting]
    each = {number: {"best": Best("val/loss", "min", loss, 1, 26)} for number, loss in enumerate(every)}
    seeds = range(len(next(iter(values.values()))))
    return make_sweep(root, {"optimizer.lr": list(values), "seed": list(seeds)}, each=each, **fields)


def ranked(sweep: SweepDir) -> Ranking[object]:
    found = ranking(runs(find([sweep.path])), tested=True)
    assert found is not None
    return found  # type: ignore[return-value]


def test_the_best_is_a_run_of_the_best_setting_and_not_the_luckiest_seed(tmp_path: Path) -> None:
    sweep = losses(tmp_path, {0.1: LUCKY, 0.2: STEADY})
    (entry,) = find([tmp_path])
    assert isinstance(entry, SweepEntry)

    told = summarize(
        sweep, read_sweep(sweep.info), {job: read_info(RunDir(run.path).info) for job, run in enumerate(entry.runs)}
    )

    best = best_run(entry.runs)
    report = gather([entry], title="")
    assert best is not None
    assert best.path.name == resolve("last/best", tmp_path).path.name == "0006"
    assert report.groups[0].label == "lr=0.2"
    assert report.groups[0].first == [row.id for row in report.rows].index(best.id)
    assert "its best run is 0006 (seed=2): val/loss 0.59" in told


def test_how_many_settings_may_be_as_good_as_the_first_is_said(tmp_path: Path) -> None:
    far = [value + 1 for value in STEADY]
    near = [value + delta for value, delta in zip(STEADY, (0.01, -0.01, 0.02, -0.01), strict=True)]

    found = ranked(losses(tmp_path, {0.1: STEADY, 0.2: near, 0.3: far, 0.4: LUCKY}))

    assert [setting.values["optimizer.lr"] for setting in found.settings] == [0.1, 0.2, 0.4, 0.3]
    assert [setting.may_be_first for setting in found.settings[1:]] == [True, True, False]
    assert str(found.verdict).startswith("2 of 3 other settings cannot be told apart from the first (paired t-test")


def test_one_run_of_each_setting_is_not_called_different(tmp_path: Path) -> None:
    found = ranked(make_sweep(tmp_path, {"optimizer.lr": [0.001, 0.01]}))

    assert found.over == ""
    assert "more seeds can tell" in str(found.verdict)


def test_a_setting_of_which_a_run_diverged_comes_after_those_without(tmp_path: Path) -> None:
    found = ranked(losses(tmp_path, {0.1: STEADY, 0.2: LUCKY}, diverged=[1]))

    assert [setting.values["optimizer.lr"] for setting in found.settings] == [0.2, 0.1]
    assert found.settings[1].spread.cells[-1] == "3 of 4"


def test_runs_that_halving_stopped_are_in_no_mean_and_never_the_best(tmp_path: Path) -> None:
    each = {
        number: {
            "best": Best("val/loss", "min", 0.1, 1, 26),
            "reason": "halving after epoch 3: place 3 of 4, of which 2 go on",
            "epochs": 3,
        }
        for number in (1, 3, 4, 5)
    }
    sweep = make_sweep(tmp_path, {"optimizer.lr": [0.01, 0.001, 0.1], "seed": [0, 1]}, each=each)

    found = ranked(sweep)

    first = best_run(runs(find([tmp_path])))
    assert [(setting.spread.runs, setting.halved) for setting in found.settings] == [(1, 1), (1, 1), (0, 2)]
    assert first is not None
    assert first.path.name in ("0000", "0002")


def test_runs_alone_that_differ_in_their_seeds_are_one_setting(tmp_path: Path) -> None:
    for lr, values in ((0.1, LUCKY), (0.2, STEADY)):
        for seed, loss in enumerate(values):
            settings = {"optimizer.lr": lr, "seed": seed}
            make_run(tmp_path, name=f"{lr}-{seed}", settings=settings, best=Best("val/loss", "min", loss, 1, 26))

    found = ranking(runs(find([tmp_path])), tested=True)

    assert found is not None
    assert [len(setting.members) for setting in found.settings] == [4, 4]
    assert resolve("best", tmp_path).id == "0.2-2"
