"""Runs of a sweep that predict together, and intervals that are calibrated on what no training has seen."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy
import polars as pl
import pytest

import shoal
from shoal.cli import run
from shoal.errors import UsageError
from shoal.loaded.conformal import HeldOut, calibrate
from shoal.loaded.export import export
from shoal.loaded.sweep import Sweep
from shoal.record.checkpoints import checkpoint_file
from shoal.record.checkpoints.checkpoint_file import load


def rows(n: int, seed: int) -> pl.DataFrame:
    """A table with a number and a class to predict."""
    drawn = random.Random(seed)
    x, kind = [drawn.uniform(-1, 1) for _ in range(n)], [drawn.choice("ab") for _ in range(n)]
    y = [100 + 10 * a + (5 if k == "a" else 0) + drawn.gauss(0, 1) for a, k in zip(x, kind, strict=True)]
    return pl.DataFrame({"x": x, "kind": kind, "y": y, "size": ["large" if each > 102 else "small" for each in y]})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    rows(160, seed=1).write_csv(path)
    return path


def trained(table: Path, target: str, *words: str) -> Sweep:
    """A sweep over three folds of two settings on the table, in a directory beside it."""
    other = {"y": "size", "size": "y"}[target]
    task = ["task=csv", f"task.path={table}", f"task.target={target}", f"task.exclude=[{other}]", *words]
    short = ["model.hidden=[4]", "trainer.max_epochs=6", "optimizer.lr=0.03,1e-6", "task.folds=3", "task.fold=range(3)"]
    place = [f"hydra.sweep.dir={table.parent / target}", "sweep.processes=0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shoal.record.figures.run_figure.fit_chart", lambda *_, **__: None)
        patch.setattr("shoal.app.multirun.sweep_end.Closing.draw", lambda *_: [])
        return shoal.sweep([*task, *short, *place])


@pytest.fixture(scope="module")
def numbers(table: Path) -> Sweep:
    return trained(table, "y", "task.test_fraction=0.25")


@pytest.fixture(scope="module")
def classes(table: Path) -> Sweep:
    return trained(table, "size", "task.test_fraction=0.25")


def test_an_ensemble_is_the_folds_of_the_best_setting_or_the_best_few_runs(numbers: Sweep) -> None:
    members = numbers.ensemble().members
    two = numbers.ensemble(2).members

    assert {each.info.differs["optimizer.lr"] for each in members} == {0.03}
    assert [each.info.differs["task.fold"] for each in members] == [0, 1, 2]
    ranked = sorted(numbers.runs, key=lambda each: each.info.best.value if each.info.best else 0.0)
    assert {each.path for each in two} == {each.path for each in ranked[:2]}
    with pytest.raises(UsageError, match="--best 7: the sweep has 6 runs trained to the end"):
        numbers.ensemble(7)


def test_what_a_checkpoint_says_of_columns_is_read_once_while_it_is_the_same(
    numbers: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []
    monkeypatch.setattr(checkpoint_file, "load", lambda path: (loads.append(path), load(path))[1])
    together, new = numbers.ensemble(2), rows(5, seed=2).select("x", "kind")

    for _ in range(3):
        together.predict(new)
    before = len(loads)
    best = together.members[0].directory.best
    os.utime(best, ns=(0, best.stat().st_mtime_ns + 1))
    together.columns()

    assert before == 2 * (1 + 3)  # of each member its columns, then its weights for each prediction
    assert loads[before:] == [best]


def test_numbers_are_the_mean_of_the_members_with_their_spread(numbers: Sweep) -> None:
    together, new = numbers.ensemble(), rows(5, seed=2).select("x", "kind")

    found = together.predict(new)

    each = numpy.stack([member.predict(new)["y"].to_numpy() for member in together.members])
    assert found.columns == ["y", "y_std", "y_q05", "y_q95"]
    assert found["y"].to_numpy() == pytest.approx(each.mean(axis=0), rel=1e-12)
    assert found["y_std"].to_numpy() == pytest.approx(each.std(axis=0, ddof=1), rel=1e-9)
    assert found["y_q95"].to_numpy() == pytest.approx(numpy.quantile(each, 0.95, axis=0), rel=1e-12)


def test_classes_are_chosen_by_their_mean_probabilities(classes: Sweep) -> None:
    together, new = classes.ensemble(), rows(40, seed=3).select("x", "kind")

    found = together.predict(new)

    members = [member.predict(new) for member in together.members]
    large = numpy.mean([each["p_large"].to_numpy() for each in members], axis=0)
    assert found["p_large"].to_numpy() == pytest.approx(large, rel=1e-12)
    assert found["size"].to_list() == ["large" if p > 0.5 else "small" for p in large]
    same = numpy.mean([(each["size"] == found["size"]).to_numpy() for each in members], axis=0)
    assert found["size_agreement"].to_numpy() == pytest.approx(same)


def test_an_ensemble_is_measured_on_the_test_part_and_on_other_tables_only(numbers: Sweep, table: Path) -> None:
    together = numbers.ensemble()

    of_table = together.evaluate(path=table)
    of_test = together.evaluate(test=True)

    whole = pl.read_csv(table)
    off = together.predict(whole.select("x", "kind"))["y"] - whole["y"]
    assert of_table["input/rmse"] == pytest.approx(float((off**2).mean()) ** 0.5, rel=1e-5)  # type: ignore[arg-type]
    assert set(of_test) == {"test/loss", "test/rmse", "test/mae", "test/r2"}
    with pytest.raises(UsageError, match="what one was not trained on, others were"):
        together.evaluate()


def test_the_figure_of_numbers_has_a_band_around_each_mean(numbers: Sweep) -> None:
    fit, disagreement = numbers.ensemble().figure.axes

    bars = fit.containers[0]
    assert len(bars.lines[0].get_xdata()) == 40
    assert fit.get_xlabel() == "target y"
    assert disagreement.get_xlabel() == "standard deviation of the runs"


def test_the_figure_of_classes_shows_each_run_beside_all_together(classes: Sweep) -> None:
    together = classes.ensemble()

    confusion, rights = together.figure.axes

    counts = confusion.images[0].get_array()
    assert counts is not None
    assert counts.sum() == 40
    assert [each.get_text() for each in rights.get_yticklabels()] == ["all", "large", "small"]
    _, marks = (line for line in rights.lines if line.get_marker() in ("o", "D"))
    assert marks.get_xdata()[0] == pytest.approx(together.evaluate(test=True)["test/accuracy"])
    assert counts.trace() / 40 == pytest.approx(marks.get_xdata()[0])


@pytest.mark.parametrize(("level", "n", "place"), [(0.9, 9, 9), (0.9, 99, 90), (0.5, 4, 3), (0.8, 100, 81)])
def test_intervals_reach_as_far_as_the_scores_that_the_level_asks_for(level: float, n: int, place: int) -> None:
    off = numpy.random.default_rng(0).permutation(n) + 1.0
    held = HeldOut(pl.DataFrame({"y": off}), pl.DataFrame({"y": numpy.zeros(n)}))

    found = calibrate(held, level)

    assert found.reach.tolist() == [place]
    assert found.columns(pl.DataFrame({"y": [1.0]})).row(0) == (1.0 - place, 1.0 + place)


def test_too_few_samples_for_a_level_are_refused_with_how_many_it_takes() -> None:
    held = HeldOut(pl.DataFrame({"y": [1.0] * 18}), pl.DataFrame({"y": [0.0] * 18}))

    with pytest.raises(UsageError, match="need 19 samples to calibrate on; the test part has 18"):
        calibrate(held, 0.95)
    assert calibrate(held, 0.9).covered == 1.0
    assert calibrate(held, 0.94).covered is None


def test_intervals_and_sets_hold_what_they_promise_of_new_rows(numbers: Sweep, classes: Sweep) -> None:
    new, shares = rows(1000, seed=4), {}

    for sweep, target in ((numbers, "y"), (classes, "size")):
        together = sweep.ensemble()
        predicted = together.predict(new.select("x", "kind"))
        ends = together.calibrated(0.8).columns(predicted)
        if target == "y":
            shares[target] = ((ends["y_low"] <= new["y"]) & (new["y"] <= ends["y_high"])).mean()
        else:
            held = zip(new["size"].to_list(), ends["size_set"].to_list(), strict=True)
            shares[target] = sum(name in names.split("|") for name, names in held) / len(new)

    # Of 40 samples to calibrate on, the share covered has a standard deviation of 0.06 around 0.8.
    assert all(0.65 < share < 0.95 for share in shares.values()), shares  # type: ignore[operator]


@pytest.mark.parametrize("target", ["numbers", "classes"])
def test_an_ensemble_is_exported_as_one_graph(target: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    together = request.getfixturevalue(target).ensemble()

    exported = export(together, "pt2", tmp_path / "model.pt2")

    assert exported.difference < 1e-6
    with pytest.raises(UsageError, match="safetensors holds the weights of one"):
        export(together, "safetensors", tmp_path / "model.safetensors")


def test_the_command_says_who_predicts_and_what_intervals_rest_on(
    numbers: Sweep, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows(3, seed=5).select("x", "kind").write_csv(workdir / "new.csv")

    code = run(["predict", str(numbers.path), "--input", "new.csv", "--interval", "0.8"])

    said = capsys.readouterr()
    assert code == 0
    assert said.out.splitlines()[0] == "x,kind,y,y_std,y_q05,y_q95,y_low,y_high"
    assert said.err.splitlines()[0] == (
        "3 runs of optimizer.lr=0.03 predict together: task.fold=0, task.fold=1, task.fold=2"
    )
    assert "intervals of 0.8, calibrated on the 40 samples of the test part; calibrated on half" in said.err
    assert run(["predict", str(numbers.runs[0].path), "--best", "2", "--x", "1,a"]) == 2
    assert "--best 2 is for a sweep" in capsys.readouterr().err


def test_without_a_test_part_there_are_no_intervals(
    table: Path, tmp_path: Path, undrawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["task=csv", f"task.path={table}", "task.target=y", "task.exclude=[size]", "trainer.max_epochs=1"]
    alone = shoal.train([*words, f"hydra.run.dir={tmp_path / 'run'}"])

    assert run(["predict", str(alone.path), "--x", "1,a", "--interval", "0.9"]) == 2
    assert "intervals are calibrated on a test part, and" in capsys.readouterr().err
