"""`shoal again`, and what its user says of a run or a sweep: tags, a note."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import trained
from shoal.app.again import asked
from shoal.cli import run
from shoal.review.catalog import find
from shoal.review.entries import RunEntry, SweepEntry
from shoal.rundir import read_history, read_info

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ["task.n_samples=32", "task.batch_size=null", "trainer.max_epochs=2", "callbacks=quiet", "logger=none"]


def newest(workdir: Path) -> RunEntry | SweepEntry:
    return find([workdir / "outputs"])[0]


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (["task=iris", "optimizer.lr=1"], ["optimizer.lr=2"], ["task=iris", "optimizer.lr=2"]),
        (["optimizer=sgd", "seed=1"], ["optimizer=adam"], ["seed=1", "optimizer=adam"]),
        (["hydra.run.dir=x", "+trainer.x=1", "+trainer.x=1"], [], ["+trainer.x=1"]),
        (["+a.b=1"], ["a.b=2"], ["a.b=2"]),
    ],
)
def test_an_override_of_now_takes_the_place_of_the_one_before(
    before: list[str], now: list[str], words: list[str]
) -> None:
    assert asked(before, now) == words


def test_a_run_is_trained_again_with_its_tags_and_another_rate(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(*SMALL, "tags=[paper,try2]", "note='smaller steps?'")
    first = newest(workdir)

    code = run(["again", "last", "optimizer.lr=0.02", "note=better"])

    second = newest(workdir)
    assert code == 0
    assert first.path != second.path
    info = read_info(second.path / "run.json")
    assert (info.tags, info.note) == (["paper", "try2"], "better")
    assert "optimizer.lr=0.02" in info.overrides
    assert info.seed == 0


def test_a_member_of_a_sweep_trained_again_has_its_bits(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained("-m", *SMALL, "optimizer.lr=0.01,0.1", "sweep.processes=0", "tags=stack")
    sweep = newest(workdir)

    code = run(["again", "last/1"])

    alone = newest(workdir)
    assert code == 0
    assert isinstance(alone, RunEntry)
    assert alone.info is not None
    assert (alone.info.engine, alone.info.sweep, alone.info.tags) == ("vectorized", None, ["stack"])
    losses = [read_history(path / "metrics.csv").rows[-1]["val/loss"] for path in (alone.path, sweep.path / "0001")]
    assert losses[0] == losses[1]


def test_tags_are_no_part_of_a_job_and_find_runs_and_sweeps_again(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", *SMALL, "seed=range(2)", "sweep.processes=0", "hydra.sweep.dir=outputs/parabola/mine"]
    trained(*sweep, "tags=[first]")
    again = trained(*sweep, "tags=[second]", "note=done")

    run(["runs", "--tag", "second", "--json"])

    (listed,) = json.loads(capsys.readouterr().out)
    assert "2 of 2" in again.stderr + again.stdout or "nothing" in again.stderr + again.stdout
    assert (listed["id"], listed["tags"], listed["note"]) == ("mine", ["second"], "done")
    assert run(["runs", "--tag", "secnd"]) == 2
    assert "did you mean second?" in capsys.readouterr().err
    run(["runs", "--where", "tags like '%first%'", "--json"])
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_tags_cannot_differ_within_a_sweep(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["train", "-m", *SMALL, "tags=a,b"])

    assert code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: tags=a,b (command line): is of all runs together",
        "  'tags=[a,b]'",
    ]
