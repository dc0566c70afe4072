"""Successive halving: of the runs of a stack that stand on a rung the best go on, as if they had been alone."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from driven import Kept, job
from shoal.app.resume import resume
from shoal.app.train import go_on
from shoal.cli import train as main
from shoal.engines.stack.halving import Halving
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.run_epoch import RunEpoch
from shoal.engines.vectorized.running import Running
from shoal.names import VAL_LOSS
from shoal.optimizers import Adam
from shoal.rundir import Status, SweepDir, read_history, read_info, read_sweep, write_sweep

pytestmark = [
    pytest.mark.usefixtures("undrawn"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*"),
]

RATES = [1e-4, 1e-3, 1e-2]


def runs(halving: Halving | None) -> Running:
    jobs = [job(seed, optimizer=Adam(lr=lr)) for seed in range(3) for lr in RATES]
    return Running([Member.of(each, monitor=VAL_LOSS) for each in jobs], halving=halving)


def trained(halving: Halving | None, listener: Kept) -> Running:
    running = runs(halving)
    driver.fit(running, listener)
    return running


def weights(running: Running, run: int) -> torch.Tensor:
    state = running.checkpoint(run)["state_dict"]
    return torch.cat([value.flatten() for value in state.values()])


def last_epochs(kept: Kept) -> list[int]:
    return [kept.rows[run][-1].epoch + 1 for run in range(9)]


@pytest.fixture(scope="module")
def unhalved() -> Kept:
    kept = Kept()
    trained(None, kept)
    return kept


def ranked(kept: Kept, among: Sequence[int], epoch: int) -> list[int]:
    return sorted(among, key=lambda run: kept.curve(run, VAL_LOSS)[epoch - 1])


def test_the_best_of_each_rung_go_on_and_the_others_stop_there(unhalved: Kept) -> None:
    kept = Kept()
    running = trained(Halving(factor=3, min_epochs=1), kept)

    first = ranked(unhalved, range(9), 1)[:3]
    second = ranked(unhalved, first, 3)[:1]
    assert last_epochs(kept) == [6 if run in second else 3 if run in first else 1 for run in range(9)]
    endings = [running.endings[run] for run in range(9)]
    assert endings == ["completed" if run in second else "halved" for run in range(9)]


@pytest.mark.parametrize("compiled", [False, True], ids=["by torch", "compiled"])
def test_a_run_is_the_same_to_the_bit_whether_others_lose_places_or_not(
    unhalved: Kept, compiled: bool, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    if compiled:
        request.getfixturevalue("compiled_at_once")

    with caplog.at_level("INFO", logger="shoal"):
        trained(Halving(factor=3, min_epochs=1), kept)

    assert not compiled or "The training step goes on compiled" in caplog.messages
    for run, rows in kept.rows.items():
        assert [row.metrics for row in rows] == [row.metrics for row in unhalved.rows[run][: len(rows)]]


def test_a_stack_that_goes_on_from_its_state_keeps_to_its_rungs() -> None:
    whole, kept = Kept(save_after=2), Kept()
    first = trained(Halving(factor=3, min_epochs=1), whole)

    again = runs(Halving(factor=3, min_epochs=1))
    again.load_state_dict(whole.saved)
    driver.fit(again, kept)

    assert again.endings == first.endings
    assert all(torch.equal(weights(again, run), weights(first, run)) for run in range(9))


@pytest.mark.parametrize(("mode", "losers"), [("min", [2, 3]), ("max", [1, 3])])
def test_nan_is_the_worst_value_in_either_direction(mode: str, losers: list[int]) -> None:
    values = {0: 2.0, 1: 1.0, 2: 3.0, 3: math.nan}

    assert sorted(Halving(factor=2).losers(values, "min" if mode == "min" else "max")) == losers


def test_an_epoch_without_validation_leaves_the_decision_to_the_next() -> None:
    running = runs(Halving(factor=3, min_epochs=1))
    measured, unmeasured = (
        [RunEpoch(run, 0, 1, metrics, False, None) for run in range(9)] for metrics in ({VAL_LOSS: 1.0}, {})
    )

    assert running.judge.halved(unmeasured, 1) == unmeasured
    assert sum(each.ended == "halved" for each in running.judge.halved(measured, 2)) == 6
    assert running.judge.rungs == 1


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> SweepDir:
    folder = tmp_path_factory.mktemp("halved") / "sweep"
    words = "-m optimizer.lr=1e-5,1e-4,1e-3,1e-2 seed=1,2 task.n_samples=40 task.batch_size=16 model.hidden=[4]"
    words += f" trainer.max_epochs=5 sweep.halving.factor=2 sweep.block=4 sweep.processes=0 hydra.sweep.dir={folder}"

    assert main(words.split()) == 0
    return SweepDir(folder)


def test_the_stacks_of_a_sweep_have_some_runs_of_every_setting(swept: SweepDir) -> None:
    stacks: dict[str | None, list[int]] = {}
    for each in read_sweep(swept.info).jobs:
        stacks.setdefault(each.block, []).append(each.number)

    assert sorted(stacks.values()) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_a_run_that_lost_its_place_is_completed_and_has_a_whole_directory(swept: SweepDir) -> None:
    jobs = read_sweep(swept.info).jobs
    infos = {each.number: read_info(swept.run(each).info) for each in jobs}

    assert {info.status for info in infos.values()} == {Status.COMPLETED}
    assert sorted(info.epochs for info in infos.values()) == [1, 1, 1, 1, 2, 2, 5, 5]
    for job_, info in zip(jobs, infos.values(), strict=True):
        assert len(read_history(swept.run(job_).history).rows) == info.epochs
        assert swept.run(job_).last.exists()
        lost = info.epochs < 5
        assert (info.reason or "").startswith(f"halving after epoch {info.epochs}: place ") is lost


def test_a_sweep_begun_again_trains_no_run_that_lost_its_place(swept: SweepDir) -> None:
    before = {job_.number: read_info(swept.run(job_).info) for job_ in read_sweep(swept.info).jobs}

    assert go_on(swept.path).tell() == 0

    assert {job_.number: read_info(swept.run(job_).info) for job_ in read_sweep(swept.info).jobs} == before


def test_a_run_that_lost_its_place_can_be_trained_on_by_itself(swept: SweepDir) -> None:
    loser = next(job_ for job_ in read_sweep(swept.info).jobs if read_info(swept.run(job_).info).epochs == 1)
    run = swept.run(loser)

    resume(run.path, ["trainer.max_epochs=7"])

    assert read_info(run.info).epochs == 7
    assert yaml.safe_load(run.config.read_text())["trainer"]["max_epochs"] == 7


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("sweep.halving.factor=1", "must be an integer of at least 2"),
        ("sweep.halving.min_epochs=0 sweep.halving.factor=2", "must be an integer of at least 1"),
    ],
)
def test_halving_that_cannot_be_is_refused(
    word: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(f"-m seed=1,2 sweep.processes=0 hydra.sweep.dir={tmp_path / 'sweep'} {word}".split())

    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert "sweep.halving" in error
    assert len(error.strip().splitlines()) <= 3


def test_a_sweep_that_is_resumed_keeps_the_settings_it_was_begun_with(tmp_path: Path) -> None:
    words = "-m optimizer.lr=1e-4,1e-3 task.n_samples=40 task.batch_size=16 model.hidden=[4]"
    words += f" trainer.max_epochs=5 sweep.halving.factor=2 sweep.processes=0 hydra.sweep.dir={tmp_path / 'sweep'}"
    assert main(words.split()) == 0
    folder = SweepDir(tmp_path / "sweep")
    begun = read_sweep(folder.info)
    write_sweep(folder.info, replace(begun, jobs=[replace(each, status=None) for each in begun.jobs]))
    for each in begun.jobs:
        shutil.rmtree(folder.run(each).path)

    assert go_on(folder.path).tell() == 0

    assert sorted(read_info(folder.run(each).info).epochs for each in begun.jobs) == [1, 5]
