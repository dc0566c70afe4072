"""Rows of a metrics.csv that are lost are told by a sweep that goes on, as by a run that goes on alone."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from shoal.cli import train as main
from shoal.errors import ExitCode
from shoal.record.stack_training import _Session
from shoal.rundir import RunDir, read_history
from sweeps import runs, same, statuses, sweep

WORDS = ["seed=range(3)", "trainer.max_epochs=8", "sweep.processes=0"]

pytestmark = pytest.mark.usefixtures("undrawn", "workdir")


@pytest.fixture
def stopped() -> None:
    """A sweep that a signal stopped after four of its eight epochs."""

    def asked(session: _Session) -> bool:
        if session.running.epoch >= 4:
            session.interruption.received = signal.SIGINT
        return session.interruption.received is not None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Session, "is_asked_to_stop", asked)
        assert sweep(*WORDS).returncode == ExitCode.INTERRUPTED


@pytest.mark.parametrize("line", [2, 3, 5])
def test_a_sweep_that_goes_on_says_how_many_rows_are_left(stopped: None, line: int) -> None:
    file = runs()[1].history
    rows = file.read_text().splitlines(keepends=True)
    rows[line - 1] = rows[line - 1].replace(",", ";", 1)
    file.write_text("".join(rows))

    said = sweep(*WORDS).stderr

    assert f"{line - 2} of 4 rows are left" in said
    assert str(file) in said
    assert f"{line - 2} of 4 rows are left" in runs()[1].log.read_text()
    assert statuses() == ["completed"] * 3
    assert len(read_history(file).rows) == 4 + line - 2


def test_a_sweep_says_of_a_row_without_a_step_what_a_run_alone_says(
    stopped: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = RunDir(tmp_path / "alone")
    main(["task=parabola", "trainer.max_epochs=4", f"hydra.run.dir={alone.path}"])
    in_sweep = runs()[1]
    for run in (alone, in_sweep):
        rows = run.history.read_text().splitlines(keepends=True)
        rows[2] = rows[2][rows[2].index(",") :]
        run.history.write_text("".join(rows))
    capsys.readouterr()

    code = main([f"resume={alone.path}", "trainer.max_epochs=8"])

    expected = "is damaged after row 1: the row names no step: 1 of 4 rows are left"
    assert code == ExitCode.OK
    assert f"warning: {alone.history} {expected}\n" in capsys.readouterr().err
    assert f"warning: {in_sweep.history} {expected}\n" in sweep(*WORDS).stderr
    assert statuses() == ["completed"] * 3


def test_a_value_that_was_changed_is_told_too(stopped: None) -> None:
    file = runs()[2].history
    text = file.read_text().splitlines(keepends=True)
    cells = text[2].split(",")
    cells[2] = "0.123"
    text[2] = ",".join(cells)
    file.write_text("".join(text))

    said = sweep(*WORDS).stderr

    assert f"{file} is damaged: its rows are not what was written" in said


def test_a_sweep_that_is_not_damaged_goes_on_without_a_warning(stopped: None, tmp_path: Path) -> None:
    said = sweep(*WORDS).stderr
    sweep(*WORDS, f"hydra.sweep.dir={tmp_path}/whole")

    assert "warning" not in said
    assert all(same(mine, theirs) for mine, theirs in zip(runs(), runs(tmp_path / "whole"), strict=True))


def test_a_run_whose_history_cannot_be_written_takes_no_other_along(stopped: None) -> None:
    file = runs()[1].history
    file.unlink()
    file.mkdir()

    said = sweep(*WORDS).stderr

    assert statuses() == ["completed", "failed", "completed"]
    assert str(file) in said
