"""What is trained is decided in one place: the command line and Python do the same with the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.cli import run
from shoal.errors import ExitCode, ShoalError, UsageError
from shoal.pictures import beside

pytestmark = pytest.mark.usefixtures("undrawn")

RUN = [
    "task=parabola",
    "trainer.max_epochs=1",
    "task.n_samples=64",
    "task.batch_size=16",
    "callbacks=quiet",
    "hydra.run.dir=run",
]
SWEEP = [
    "task=parabola",
    "trainer.max_epochs=1",
    "task.n_samples=64",
    "task.batch_size=16",
    "seed=0,1",
    "sweep.processes=0",
]


def by_command(words: list[str]) -> tuple[int, list[str]]:
    return run(["train", *words]), directories()


def by_python(words: list[str]) -> tuple[int, list[str]]:
    try:
        shoal.train(words)
    except ShoalError as error:
        return int(error.exit_code), directories()
    return 0, directories()


def directories() -> list[str]:
    return sorted(str(path.parent) for path in Path.cwd().glob("*/run.json"))


@pytest.mark.parametrize("train", [by_command, by_python])
@pytest.mark.parametrize(
    "words",
    [
        ["resume=nowhere", "resume=null", *RUN],
        ["resume=null", *RUN],
        ["+resume=null", *RUN],
        ["++resume=nowhere", "++resume=null", *RUN],
    ],
)
def test_the_last_word_says_what_to_go_on_with(train: Any, words: list[str], workdir: Path) -> None:
    code, found = train(words)

    assert code == 0
    assert [Path(path).name for path in found] == ["run"]


@pytest.mark.parametrize("train", [by_command, by_python])
def test_a_run_that_is_finished_is_refused_by_every_caller(train: Any, workdir: Path) -> None:
    shoal.train(RUN)

    code, _ = train(["resume=null", "resume=run"])

    assert code == 2


@pytest.mark.parametrize("train", [by_command, by_python])
@pytest.mark.parametrize("setting", ["trainer.max_epochs=x", "trainer.max_steps=[3]"])
def test_a_wrong_length_of_a_finished_run_is_refused_as_any_other(train: Any, setting: str, workdir: Path) -> None:
    shoal.train(RUN)

    code, _ = train(["resume=run", setting])

    assert code == ExitCode.USAGE


def test_a_run_that_a_command_goes_on_with_is_drawn_by_a_process_beside(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shoal.train(RUN)
    begun: list[str] = []
    monkeypatch.setattr(beside, "begin", lambda: begun.append("beside"))
    monkeypatch.setattr("shoal.app.resume.keep_what_is_imported", lambda: begun.append("kept"))

    shoal.train(["resume=run", "trainer.max_epochs=2"])
    by_python = [*begun]
    code = run(["resume", "run", "trainer.max_epochs=3"])

    assert (code, by_python, begun) == (0, [], ["beside", "kept"])


@pytest.mark.parametrize("train", [by_command, by_python])
def test_a_run_goes_on_from_within_its_directory(train: Any, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shoal.train(RUN)
    monkeypatch.chdir("run")

    code, _ = train(["resume=.", "trainer.max_epochs=2"])

    assert code == 0
    assert shoal.Run(".").info.epochs == 2


@pytest.mark.parametrize("train", [by_command, by_python])
def test_every_caller_does_what_is_missing_of_a_sweep(train: Any, workdir: Path) -> None:
    swept = shoal.sweep([*SWEEP, "hydra.sweep.dir=sweep"])
    swept.runs[1].directory.info.unlink()
    table = swept.directory.info
    table.write_text(table.read_text().replace('"status": "completed"', '"status": "interrupted"'))

    code, _ = train(["resume=sweep", "sweep.processes=0"])

    assert code == 0
    assert [each.status for each in shoal.Sweep("sweep").runs] == ["completed", "completed"]


def test_a_sweep_from_python_has_a_row_for_each_run(workdir: Path) -> None:
    swept = shoal.sweep([*SWEEP, "hydra.sweep.dir=sweep"])

    assert swept.table["seed"].to_list() == [0, 1]
    assert swept.table["status"].to_list() == ["completed", "completed"]
    assert "val/loss" in swept.table.columns
    assert swept.status == "completed"


@pytest.mark.parametrize("option", ["-m", "--config-dir=.", "--config-name=train"])
def test_what_has_no_effect_beside_resume_is_refused(
    option: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["train", option, "resume=run"])

    assert code == 2
    assert "has no effect" in capsys.readouterr().err


def test_resuming_nothing_names_the_way(workdir: Path) -> None:
    with pytest.raises(UsageError, match="names no run"):
        shoal.train(["resume="])
