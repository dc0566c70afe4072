"""What experiments expect: how it is read, compared and told; the command verify."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.build.expectations import Expectation, compared, compared_over, expectations
from shoal.cli import run as shoal_command
from shoal.cli import train as main
from shoal.config.folders import own_experiments
from shoal.errors import ConfigError, UsageError
from shoal.rundir import Best, History, RunInfo, Status

pytestmark = pytest.mark.usefixtures("unrendered")


QUICK = ["callbacks=quiet", "logger=none", "task.n_samples=100", "task.batch_size=20"]


def finished(tmp_path: Path, **fields: Any) -> tuple[RunInfo, History]:
    """A run of three steps, of which the second is the best."""
    history = History(tmp_path / "metrics.csv")
    for step, loss in enumerate((0.5, 0.25, 0.3), start=1):
        history.add({"step": step, "epoch": step - 1, "val/loss": loss, "x": float(step)})
    values = {"final": {"val/loss": 0.3, "x": 3.0}, "best": Best("val/loss", "min", 0.25, 1, 2), "parameters": 7}
    info = RunInfo(id="r", task="t", status=Status.COMPLETED, engine="lightning", seed=0, **{**values, **fields})
    return info, history


@pytest.mark.parametrize(
    ("settings", "measured"),
    [
        ({"metric": "x", "value": 3}, 3.0),
        ({"metric": "x", "step": 2, "value": 2}, 2.0),
        ({"metric": "x", "epoch": 0, "value": 1}, 1.0),
        ({"metric": "val/loss", "at": "best", "value": 0.25}, 0.25),
        ({"metric": "x", "at": "best", "value": 2}, 2.0),
        ({"metric": "parameters", "value": 7}, 7.0),
        ({"metric": "val/loss", "log10": True, "value": -0.52}, math.log10(0.3)),
    ],
)
def test_a_metric_is_looked_up_at_its_place(settings: dict[str, Any], measured: float, tmp_path: Path) -> None:
    (outcome,) = compared([Expectation(**settings)], *finished(tmp_path))

    assert outcome.measured == measured
    assert outcome.holds


@pytest.mark.parametrize(
    ("settings", "near", "far"),
    [
        ({"value": 3.0291}, 3.02914, 3.02916),
        ({"value": "2.5110"}, 2.51104, 2.51106),
        ({"value": 83}, 83.0, 84.0),
        ({"value": -9.5, "within": 0.1}, -9.41, -9.39),
        ({"value": 4221.95, "relative": 1e-4}, 4222.3, 4222.4),
        ({"below": 1.0}, 0.99, 1.0),
        ({"above": 1.0}, 1.01, 1.0),
        ({"value": 1.0, "within": 1.0}, 0.5, math.nan),
    ],
)
def test_the_digits_written_are_the_tolerance_unless_another_is(
    settings: dict[str, Any], near: float, far: float
) -> None:
    expectation = Expectation(metric="x", **settings)

    assert expectation.holds(near)
    assert not expectation.holds(far)


def test_a_metric_that_is_not_where_it_is_looked_for_is_a_miss(tmp_path: Path) -> None:
    (outcome,) = compared([Expectation(metric="x", step=9, value=1)], *finished(tmp_path))

    assert not outcome.holds
    assert outcome.problem == "not in the history; its last row is step 3"


def test_statistics_are_taken_over_the_runs_with_the_settings_named(tmp_path: Path) -> None:
    runs = [
        finished(tmp_path, final={"loss": float(i)}, differs={"optimizer": "sgd" if i < 3 else "adam"})
        for i in range(5)
    ]
    mean = Expectation(metric="loss", over="mean", where={"optimizer": "sgd"}, value=1.0, within=1e-9)
    spread = Expectation(metric="loss", over="std", value=1.5811, within=1e-4)
    absent = Expectation(metric="los", over="mean", value=1)

    outcomes = compared_over([mean, spread, absent], runs)

    assert [outcome.holds for outcome in outcomes] == [True, True, False]
    assert outcomes[2].problem == "5 of 5 runs have no such number"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"metric": "x"}, "must be a list"),
        (["x"], "must name a metric"),
        ([{"metric": "x"}], "must be given, or below, or above"),
        ([{"metrc": "x", "value": 1}], "no such setting"),
        ([{"metric": "x", "value": "a"}], "must be a number"),
        ([{"metric": "x", "value": 1, "within": -1}], "a number of at least 0"),
        ([{"metric": "x", "value": 1, "within": 1, "relative": 1}], "a second tolerance"),
        ([{"metric": "x", "value": 1, "step": 1, "epoch": 1}], "a second place"),
        ([{"metric": "x", "value": 1, "at": "bset"}], "final or best"),
        ([{"metric": "x", "below": 1, "within": 1}], "must be given beside a tolerance"),
    ],
)
def test_an_expectation_of_another_form_is_refused_in_words(node: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expectations(node)


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        ("{metric: val/los, below: 1}", "did you mean val/loss"),
        ("{metric: val/loss, step: 99, below: 1}", "the training has 4 steps"),
        ("{metric: train/loss, at: best, vlaue: 1}", "did you mean value"),
    ],
)
def test_what_can_never_be_measured_is_refused_before_anything_is_written(
    expectation: str, message: str, workdir: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        shoal.train([*QUICK, "trainer.max_epochs=1", f"expect=[{expectation}]"])

    assert not (workdir / "outputs").exists()


def test_what_is_wrong_in_an_experiment_is_told_with_its_file(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (own_experiments() / "b1_root_of_sin_x2.yaml").read_text()
    (workdir / "experiments").mkdir()
    (workdir / "experiments" / "mine.yaml").write_text(text)

    code = main(["experiment=mine", "trainer.max_steps=30"])

    assert code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: expect[2].step=51 (experiments/mine.yaml): is never reached: the training has 30 steps",
        "  train on until then, or expect nothing: expect=null",
    ]


def test_a_run_that_misses_exits_with_1_and_says_expected_beside_measured(workdir: Path) -> None:
    expect = "expect=[{metric: val/loss, below: 1e-9}, {metric: parameters, value: 1153}]"
    script = "from shoal.cli import train as main; raise SystemExit(main())"

    done = subprocess.run(
        [sys.executable, "-c", script, *QUICK, "trainer.max_epochs=1", expect], capture_output=True, text=True
    )

    info = json.loads(next(workdir.glob("outputs/*/*/run.json")).read_text())
    assert done.returncode == 1, done.stderr
    assert "below 1e-09" in done.stdout
    assert "MISSED" in done.stdout
    assert info["status"] == "completed"
    assert [each["holds"] for each in info["expected"]] == [False, True]
    assert info["expected"][1]["measured"] == 1153


def test_a_resumed_run_is_compared_too(workdir: Path) -> None:
    run = shoal.train([*QUICK, "trainer.max_epochs=1", "expect=[{metric: steps, value: 8}]"])

    resumed = shoal.train([f"resume={run.path}", "trainer.max_epochs=2"])

    assert [each["holds"] for each in resumed.info.expected] == [True]


def test_a_curve_is_measured_by_its_slope_too(workdir: Path) -> None:
    run = shoal.train(["task=function", "task.expression=2*x", *QUICK, "model=affine", "trainer.max_epochs=1"])

    (weight,) = run.model().weight.flatten().tolist()
    data = run.job.data
    slope = weight * (data.of_targets.scale / data.of_inputs.scale).item()

    assert run.info.final["derivative/rmse"] == pytest.approx(abs(slope - 2), rel=1e-5)


def test_a_table_is_recorded_beside_baselines_and_predicts_without_its_file(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = workdir / "data.csv"
    table.write_text("a,y\n" + "\n".join(f"{i},{3 * i + 1}.5" for i in range(40)))
    overrides = ["task=csv", "task.path=data.csv", "task.target=y", "task.batch_size=8", "callbacks=quiet"]
    run = shoal.train([*overrides, "trainer.max_epochs=1"])
    table.unlink()
    (workdir / "elsewhere").mkdir()
    monkeypatch.chdir(workdir / "elsewhere")

    predictions = shoal.load(workdir / run.path).predict({"a": [1.0]})

    info = shoal.load(workdir / run.path).info
    assert predictions.columns == ["y"]
    assert info.assessment is not None
    assert set(info.assessment["baselines"]) == {"mean", "least squares"}


def test_a_file_that_has_changed_is_an_error_on_resume(workdir: Path) -> None:
    table = workdir / "data.csv"
    table.write_text("a,y\n" + "\n".join(f"{i},{3 * i + 1}.5" for i in range(40)))
    overrides = ["task=csv", "task.path=data.csv", "task.target=y", "task.batch_size=8", "callbacks=quiet"]
    run = shoal.train([*overrides, "trainer.max_epochs=1"])
    table.write_text(table.read_text().replace("7.5", "8.5"))

    with pytest.raises(UsageError, match=r"data.csv has changed since the run began"):
        shoal.train([f"resume={run.path}", "trainer.max_epochs=2"])


@pytest.mark.parametrize(
    ("overrides", "fitting"), [(["task=iris", "loss=mse"], "cross_entropy"), (["loss=cross_entropy"], "loss=mse")]
)
def test_a_loss_that_does_not_fit_the_targets_is_refused(overrides: list[str], fitting: str, workdir: Path) -> None:
    with pytest.raises(ConfigError, match=rf"does not fit the targets(.|\n)*{fitting}"):
        shoal.train(overrides)


def test_verify_names_what_is_missed_and_what_is_damaged(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = workdir / "experiments"
    folder.mkdir()
    check = "# @package _global_\ndefaults:\n  - override /check: derivatives\ncheck: {expression: x**2, at: 3}\n"
    (folder / "mine.yaml").write_text(check + "expect: [{metric: d/dx, value: 6}]\n")
    (folder / "missed.yaml").write_text(check + "expect: [{metric: d/dx, value: 7}]\n")
    (folder / "damaged.yaml").write_text(check + "expect: [{metric: d/dy, value: 6}]\n")
    (folder / "broken.yaml").write_text("a: [\n")

    code = shoal_command(["verify", "mine", "missed", "damaged", "broken", "--json"])

    verdicts = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert code == 1
    assert {name: each["holds"] for name, each in verdicts.items()} == {
        "mine": True,
        "missed": False,
        "damaged": False,
        "broken": False,
    }
    assert verdicts["missed"]["outcomes"][0]["measured"] == 6
    assert "d/dy" in verdicts["damaged"]["problem"]
    assert "broken.yaml" in verdicts["broken"]["problem"]


def test_verify_keeps_the_runs_of_its_last_call_and_touches_no_other(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = shoal.train(["experiment=a2", "outputs=outputs/verify"])

    for _ in range(3):
        assert shoal_command(["verify", "a2"]) == 0

    runs = sorted((workdir / "outputs/verify/derivatives").iterdir())
    assert len(runs) == 2
    assert (workdir / mine.path) in runs
    assert "runs: outputs/verify\n" in capsys.readouterr().out


def test_verify_says_where_a_run_lies_that_diverged_and_keeps_only_the_last(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "experiments").mkdir()
    text = "# @package _global_\ndefaults: [override /task: minimize_quadratic]\noptimizer: {lr: 1.0e+30}\n"
    (workdir / "experiments/wild.yaml").write_text(text)

    codes = [shoal_command(["verify", "wild"]) for _ in range(2)]

    (run,) = workdir.glob("outputs/verify/minimize_quadratic/*")
    assert codes == [1, 1]
    assert f"missed: wild  {run.relative_to(workdir)}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [(["verify", "c11"], "no experiment 'c11'"), (["verify", "--filter", "zz*"], "no experiment fits 'zz*'")],
)
def test_verify_refuses_what_is_no_experiment(
    words: list[str], message: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = shoal_command(words)

    assert code == 2
    assert message in capsys.readouterr().err
