"""A user's own LightningModule in a sweep: it stacks where its step can be mapped, otherwise the reason is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import own_modules
from own_runs import SAMPLES, trained, write_task
from shoal.cli import train as main
from shoal.loaded.export import export
from shoal.loaded.run import Run
from shoal.rundir import RunDir, SweepDir, read_history, read_info, read_sweep

pytestmark = pytest.mark.usefixtures("unrendered")

SOURCE = Path(own_modules.__file__).read_text().splitlines()
LINES = {
    "Item": SOURCE.index("        return loss * (1 + float(loss.detach()))") + 1,
    "ItemLater": SOURCE.index("        return loss * (1 + float(loss.detach())) if self.current_epoch else loss") + 1,
    "Branches": SOURCE.index("        if loss > 1:") + 1,
    "Draws": SOURCE.index("        return super().training_step(batch, batch_idx) * (1 + random.random())") + 1,
}
"""Where each of them does what cannot be mapped."""


@pytest.fixture
def folder(workdir: Path) -> Path:
    """A working directory with a task that trains a LightningModule of the user's own."""
    write_task("curve", "Wave", SAMPLES, dropout=0.0, lr=0.01)
    return workdir


def sweep(name: str, *words: str, folder: str = "sweep") -> list[RunDir]:
    write_task("mine", name, SAMPLES, optimizer="own" if name.startswith("Optimizes") else "adam")
    settings = ["task=mine", "trainer.max_epochs=2", "seed=0,1", "sweep.processes=0"]
    assert main(["-m", *settings, f"hydra.sweep.dir={folder}", *words]) == 0
    found = SweepDir(Path(folder))
    return [found.run(job) for job in read_sweep(found.info).jobs]


@pytest.mark.parametrize("name", ["Plain", "Optimizes", "OptimizesItself"])
def test_a_module_of_the_users_own_is_stacked(workdir: Path, name: str) -> None:
    stacked = sweep(name, "trainer.precision=64-true")
    alone = sweep(name, "trainer.precision=64-true", "engine=lightning", folder="alone")

    assert [read_info(run.info).engine for run in stacked] == ["vectorized"] * 2
    for mine, other in zip(stacked, alone, strict=True):
        rows, expected = read_history(mine.history).rows, read_history(other.history).rows
        assert [set(row) for row in rows] == [set(row) for row in expected]
        assert rows == [pytest.approx(row, rel=1e-5) for row in expected]  # Lightning logs float32


def test_what_a_module_shares_is_one_row_of_a_stack_and_saved_once(workdir: Path) -> None:
    settings = ["trainer.precision=64-true", "optimizer=sgd"]
    stacked = sweep("Tied", *settings)
    alone = sweep("Tied", *settings, "engine=lightning", folder="alone")

    exported = export(Run(stacked[0].path, trusted=["own_modules"]), "safetensors")

    assert [read_info(run.info).engine for run in stacked] == ["vectorized"] * 2
    assert {"module.layers.1.weight"} == {
        name for name in load_file(exported.path) if name.endswith(("1.weight", "4.weight"))
    }
    assert exported.difference == 0
    for mine, other in zip(stacked, alone, strict=True):
        weights, expected = (torch.load(run.last, weights_only=True)["state_dict"] for run in (mine, other))
        assert list(weights) == list(expected)
        assert all(torch.allclose(weights[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Item", "jobs 0-1: own_modules.py:{}, `float(loss.detach())`, takes a tensor's value as a number"),
        ("ItemLater", "jobs 0-1: own_modules.py:{}, `float(loss.detach())`, takes a tensor's value as a number"),
        ("Branches", "own_modules.py:{}, `loss > 1`, branches on a tensor's value"),
        ("Draws", "training_step (own_modules.py:{}, `random.random()`) draws from a global random generator"),
        ("Freezes", "alone  jobs 0-1: on_train_epoch_start of Freezes changes which parameters are trained"),
        ("Recurrent", "an LSTM gains nothing in a stack"),
        pytest.param(
            *("OptimizesNothing", "makes no optimizer, so that nothing is trained: a module that makes one stacks"),
            marks=pytest.mark.filterwarnings("ignore:.*returned `None`.*"),
        ),
        ("OptimizesOddly", "alone: 0-1: Counting gives other weights in a stack than alone"),
    ],
)
def test_a_module_that_cannot_be_stacked_trains_alone_and_the_line_is_named(
    workdir: Path, name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = sweep(name)

    assert [read_info(run.info).engine for run in runs] == ["lightning"] * 2
    told = capsys.readouterr().err
    assert reason.format(LINES.get(name)) in told
    assert "start again" not in told  # each by itself, to come to the same


def test_a_dry_run_says_which_runs_of_a_stack_will_leave_it(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_task("mine", "Refuses", SAMPLES, lr=0.1, dropout=0.0)
    words = ["-m", "task=mine", "trainer.max_epochs=1", "task.module.lr=0.1,2,0.5", "sweep.processes=0"]

    assert main([*words, "sweep.dry_run=true"]) == 0
    said = capsys.readouterr().out
    assert main(words) == 1
    told = capsys.readouterr().err

    [reason] = re.findall("alone  job 1: (.*)\n", told)
    assert "too fast" in reason
    assert f"  alone: 1: {reason}\n" in said
    assert "without 1 runs: ValueError: too fast" in said


def test_why_a_hook_breaks_a_stack_is_told_once(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_task("mine", "Trips", SAMPLES, optimizer="adam")

    assert main(["-m", "task=mine", "trainer.max_epochs=1", "seed=0,1", "sweep.processes=0"]) == 1

    told = capsys.readouterr().err
    assert told.count('`raise ValueError("too late")`') == 1
    assert "failed  job 1  seed=1  ValueError: too late" in told


def test_a_step_that_ends_the_program_fails_its_runs_alone(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_task("mine", "Exits", SAMPLES, optimizer="adam")
    words = ["-m", "task=mine", "trainer.max_epochs=1", "seed=0,1", "sweep.processes=0"]

    assert main([*words, "sweep.dry_run=true"]) == 0
    assert "could not be measured: SystemExit: enough" in capsys.readouterr().out
    assert main(words) == 1

    assert "failed  job 1  seed=1  SystemExit: enough" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*returned `None`.*")
def test_a_single_run_whose_later_step_no_stack_can_follow_begins_anew_alone(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task("mine", "Skips", SAMPLES, optimizer="adam")
    words = ["task=mine", "trainer.max_epochs=2"]

    run = trained(*words, "engine=vectorized")

    told = capsys.readouterr().err
    assert "trained by the Lightning engine instead: training_step (own_modules.py:" in told
    assert run.info.engine == "lightning"
    assert run.metrics.equals(trained(*words, "engine=lightning").metrics)


def test_a_module_that_can_be_stacked_is_and_gives_what_it_gives_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precise = ["task=curve", "trainer.precision=64-true", "trainer.max_epochs=3"]

    code = main(["-m", *precise, "task.module.lr=0.01,0.02", "seed=0,1", "sweep.processes=0"])

    out = "".join(capsys.readouterr())
    assert code == 0
    assert "4 in 1 stack" in out
    assert "alone" not in out
    alone = trained(*precise, "task.module.lr=0.02", "seed=1")
    (stacked,) = [run for run in map(Run, Path("outputs/curve").glob("*/*")) if run.path.name == "0003"]
    assert stacked.info.final["val_loss"] == pytest.approx(alone.info.final["val_loss"], rel=1e-9)
    assert set(stacked.metrics.columns) == set(alone.metrics.columns)
