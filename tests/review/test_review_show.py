"""What show, compare and diff say of runs."""

from __future__ import annotations

import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from runs import make_run, make_sweep
from shoal.names import HALVED
from shoal.review.catalog import find
from shoal.review.comparison import compare, diff
from shoal.review.curves import drawn, whole_axis
from shoal.review.entries import RunEntry, SweepEntry
from shoal.review.plain import in_full
from shoal.review.show_run import command, show_run
from shoal.review.show_sweep import show_sweep
from shoal.rundir import RunDir, Status, read_info
from shoal.rundir.info import write_info


def entry(run: RunDir) -> RunEntry:
    return RunEntry(run.path, read_info(run.info))


def said(printing: object, *arguments: object, **options: object) -> str:
    """What a function prints to a console that is no terminal."""
    assert callable(printing)
    output = io.StringIO()
    printing(Console(file=output, width=100, highlight=False, markup=False, soft_wrap=True), *arguments, **options)
    return output.getvalue()


def test_show_has_result_settings_artifacts_and_environment(tmp_path: Path) -> None:
    run = make_run(tmp_path, name="a-run", settings={"optimizer.lr": 0.02})

    text = said(show_run, entry(run))

    assert "a-run  parabola  completed" in text
    assert "best 0.00" in text
    assert "optimizer  Adam lr=0.02 eps=1e-08" in text
    assert "checkpoints/last.ckpt  digest ok" in text
    assert "4bebb5b00000, clean" in text
    assert "python train.py task=parabola optimizer.lr=0.02 seed=0" in text


def test_show_checks_each_digest(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.best.write_bytes(b"other weights")
    run.last.unlink()

    text = said(show_run, entry(run))

    assert "checkpoints/best.ckpt  changed since it was written" in text
    assert "checkpoints/last.ckpt  missing" in text
    assert "metrics.csv  digest ok" in text


def test_show_as_json_has_all_that_the_page_has(tmp_path: Path) -> None:
    run = make_run(tmp_path, name="a-run", settings={"optimizer.lr": 0.02})
    run.best.write_bytes(b"other weights")

    found = json.loads(in_full(entry(run)))

    checks = {name: each["check"] for name, each in found["artifacts"].items()}
    assert (found["id"], found["status"], found["git"]["dirty"]) == ("a-run", "completed", False)
    assert found["settings"]["optimizer.lr"] == 0.02
    assert len(found["history"]) == 12
    assert found["history_damage"] is None
    assert checks["metrics.csv"] == "ok"
    assert checks["checkpoints/best.ckpt"] == "changed since it was written"


def test_show_as_json_of_what_is_damaged_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.config.write_text("[")
    run.history.write_text("step,epoch,val/loss\n1,0,0.5\n2,1\n")
    run.info.write_text("{")
    (damaged,) = find([tmp_path])
    sweep = make_sweep(tmp_path / "sweep", {"seed": [0, 1]})
    (swept,) = find([sweep.path])

    found = json.loads(in_full(damaged))
    runs = json.loads(in_full(swept))["runs"]

    assert (found["status"], found["settings"], len(found["history"])) == ("damaged", None, 1)
    assert "is damaged after row 1" in found["history_damage"]
    assert [each["differs"] for each in runs] == [{"seed": 0}, {"seed": 1}]


def test_show_of_a_damaged_run_says_what_is_damaged_and_shows_the_rest(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.info.write_text("{")
    (found,) = find([tmp_path])
    assert isinstance(found, RunEntry)

    text = said(show_run, found)

    assert "run.json is damaged" in text
    assert "optimizer  Adam" in text


def test_show_of_a_sweep_has_its_best_runs_and_those_not_completed(tmp_path: Path) -> None:
    make_sweep(tmp_path, {"optimizer.lr": [0.001, 0.01, 0.1], "seed": [0, 1]}, diverged=[5], failed=[4])
    (sweep,) = find([tmp_path])
    assert isinstance(sweep, SweepEntry)

    text = said(show_sweep, sweep)

    assert "4 completed, 1 failed, 1 diverged" in text
    assert "settings by the mean val/loss over seeds" in text
    assert "best runs of the first setting by val/loss" in text
    assert "0 of 1 other settings" in text or "1 of 1 other settings" in text
    assert "ValueError: the task drew no samples" in text


def test_a_run_of_a_sweep_is_made_again_alone(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        sweep="20261101-100000-abcdef",
        job=3,
        command=["train.py", "-m", "task=parabola", "optimizer.lr=0.1,0.2"],
        overrides=["task=parabola", "optimizer.lr=0.1", "model.hidden=[8, 8]"],
    )

    expected = "python train.py task=parabola optimizer.lr=0.1 'model.hidden=[8, 8]' engine=vectorized"
    assert command(read_info(run.info)) == expected


def test_compare_has_the_settings_that_differ_and_no_others(tmp_path: Path) -> None:
    a = make_run(tmp_path, name="20261101-100000-first2", settings={"optimizer.lr": 0.01, "model.hidden": [16]})
    b = make_run(tmp_path, name="20261101-100001-second", settings={"optimizer.lr": 0.1, "model.hidden": [16]})

    lines = said(compare, [entry(a), entry(b)]).splitlines()

    assert "optimizer.lr\t0.01\t0.1" in lines
    assert not any(line.startswith("model.hidden") for line in lines)
    assert any(line.startswith("val/loss, last\t0.005652\t0.") and "%)" in line for line in lines)


def test_compare_tells_runs_that_halving_stopped_from_those_that_it_did_not(tmp_path: Path) -> None:
    stopped, whole = (make_run(tmp_path, settings={"seed": seed}) for seed in range(2))
    info = read_info(stopped.info)
    write_info(stopped.info, replace(info, reason=f"{HALVED} after epoch 3: place 7 of 9, of which 3 go on"))

    lines = said(compare, [entry(run) for run in (stopped, whole)]).splitlines()
    alike = said(compare, [entry(whole), entry(whole)]).splitlines()

    assert "ended\tstopped by halving\tcompleted\t" in lines
    assert [line.split("\t")[0] for line in lines if line.startswith("epochs")] == ["epochs"]
    assert not any(line.startswith("ended") for line in alike)


def test_compare_takes_more_than_two_runs(tmp_path: Path) -> None:
    made = [make_run(tmp_path, settings={"seed": seed}) for seed in range(3)]

    lines = said(compare, [entry(run) for run in made]).splitlines()

    assert "seed\t0\t1\t2" in lines


def test_diff_has_versions_hardware_and_uncommitted_changes(tmp_path: Path) -> None:
    a = make_run(tmp_path, name="20261101-100000-first2", versions={"torch": "2.12.0", "numpy": "2.4.6"})
    b = make_run(tmp_path, name="20261101-100001-second", versions={"torch": "2.13.0", "numpy": "2.4.6"})
    a.patch.write_text("-old\n+new\n")
    b.patch.write_text("-old\n+newer\n")

    lines = said(diff, entry(a), entry(b)).splitlines()

    assert "version of torch\t2.12.0\t2.13.0" in lines
    assert not any("numpy" in line for line in lines)
    assert "-+new" in lines
    assert "++newer" in lines


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A git repository as the working directory, with two commits: their ids."""
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "test")
    subprocess.run(["git", "init", "--quiet"], check=True)
    ids = []
    for text in ("one\n", "two\n"):
        (tmp_path / "model.txt").write_text(text)
        subprocess.run(["git", "add", "model.txt"], check=True)
        subprocess.run(["git", "commit", "--quiet", "-m", text], check=True)
        done = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        ids.append(done.stdout.strip())
    return ids


def test_diff_has_the_changes_between_the_commits(tmp_path: Path, repository: list[str]) -> None:
    a, b = (make_run(tmp_path / "outputs", git={"commit": commit, "dirty": False}) for commit in repository)

    names = said(diff, entry(a), entry(b))
    whole = said(diff, entry(a), entry(b), patch=True)

    assert "model.txt | 2 +-" in names
    assert {"-one", "+two"} <= set(whole.splitlines())


@pytest.mark.parametrize("commit", ["f" * 40, "--output=stolen", "", "HEAD; touch stolen"])
def test_diff_with_a_commit_that_is_not_there_says_so(commit: str, tmp_path: Path, repository: list[str]) -> None:
    a = make_run(tmp_path / "outputs", git={"commit": repository[0], "dirty": False})
    b = make_run(tmp_path / "outputs", git={"commit": commit, "dirty": False})

    text = said(diff, entry(a), entry(b))

    assert "does not have both commits" in text or "is not known" in text
    assert not (tmp_path / "stolen").exists()


def test_runs_of_the_same_code_and_environment_differ_in_nothing(tmp_path: Path) -> None:
    a, b = make_run(tmp_path), make_run(tmp_path, status=Status.FAILED)

    text = said(diff, entry(a), entry(b))

    assert "the environments are the same" in text
    assert "the runs were made from the same code" in text


def test_show_has_the_baselines_and_how_well_each_class_is_found(tmp_path: Path) -> None:
    scores = {"precision": 0.75, "recall": 1.0, "f1": 0.857, "support": 3}
    assessment = {
        "samples": "validation",
        "metrics": {"accuracy": 0.9},
        "baselines": {"majority": {"accuracy": 0.3333}},
        "classes": [{"name": "setosa\x1b[31m", **scores}, {"name": "b", **scores, "f1": 0.5}],
        "confusion": [[3, 0], [1, 2]],
    }
    run = make_run(tmp_path, task="iris", assessment=assessment)

    lines = said(show_run, entry(run)).splitlines()

    start = lines.index("on the validation samples")
    assert [line.split() for line in lines[start + 1 : start + 4]] == [
        ["accuracy"],
        ["model", "0.9"],
        ["majority", "0.3333"],
    ]
    assert [line.split() for line in lines[start + 5 : start + 8]] == [
        ["class", "precision", "recall", "f1", "support"],
        [r"setosa\x1b[31m", "0.750", "1.000", "0.857", "3"],
        ["b", "0.750", "1.000", "0.500", "3"],
    ]


@pytest.mark.parametrize("assessment", [{"metrics": 3, "baselines": [1], "classes": 4}, {"classes": [{}, 2]}, {}])
def test_an_assessment_of_another_form_does_not_hide_the_rest(assessment: dict[str, object], tmp_path: Path) -> None:
    run = make_run(tmp_path, assessment=assessment)

    assert "digest ok" in said(show_run, entry(run))


@given(st.integers(0, 100_000), st.integers(20, 100))
def test_the_ticks_of_a_curve_fall_on_whole_epochs_or_divide_them_evenly(span: int, room: int) -> None:
    width, shown = whole_axis(span, room)

    step = shown / (width / 10)
    assert shown >= span
    assert 10 <= width <= room
    assert step == int(step) or 1 / step == pytest.approx(round(1 / step))


def test_a_curve_is_labeled_with_whole_epochs_only(tmp_path: Path) -> None:
    for n_epochs in (2, 3, 7, 10, 24, 100):
        run = make_run(tmp_path, epochs=n_epochs)
        output = io.StringIO()
        screen = Console(file=output, width=80, force_terminal=True, no_color=True)

        drawn(entry(run), screen)

        (axis,) = [line for line in output.getvalue().splitlines() if line.split("|")[0].strip() == "" and "0" in line]
        labels = axis.split("|")[1].split()
        assert labels[0] == "0"
        assert int(labels[-1]) >= n_epochs - 1
        assert all(map(str.isdecimal, labels))


def test_show_of_a_sweep_has_mean_and_spread_over_seeds_and_folds(tmp_path: Path) -> None:
    make_sweep(tmp_path, {"optimizer.lr": [0.001, 0.01], "task.fold": [0, 1], "seed": [0, 1]}, diverged=[7])
    (sweep,) = find([tmp_path])
    assert isinstance(sweep, SweepEntry)
    values = [run.info.best.value for run in sweep.runs[4:7]]

    lines = said(show_sweep, sweep).splitlines()

    start = lines.index("settings by the mean val/loss over folds and seeds")
    spread = fmean(values), stdev(values) / 3**0.5, stdev(values), min(values), max(values)
    assert lines[start + 1].split() == ["mean", "stderr", "std", "min", "max", "runs", "p"]
    assert lines[start + 2].split()[0] == "lr=0.001"  # of the other one a run has diverged
    assert lines[start + 3].split()[:-1] == ["lr=0.01", *(f"{value:.4g}" for value in spread), "3", "of", "4"]


def test_a_run_whose_settings_cannot_be_read_is_compared_by_its_metrics(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, name=f"run{number}", settings={"seed": number}) for number in range(3)]
    runs[1].config.unlink()

    lines = said(compare, [entry(run) for run in runs]).splitlines()

    assert lines[:2] == ["settings that differ", "seed\t0\t2"]
    assert lines[2].startswith("run1: ")
    assert lines[2].endswith("config.yaml is missing")
    assert any(len(line.split("\t")) == 4 for line in lines if line.startswith("val/loss"))
