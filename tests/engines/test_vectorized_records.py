"""What a run from a stack leaves in its directory is what the same run leaves under the Lightning engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cli import train as main
from shoal.rundir import RunDir, SweepDir, read_history, read_info, read_sweep
from spread import one_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*"),
    pytest.mark.usefixtures("undrawn"),
]

EXACT = ["trainer.precision=64-true", "trainer.max_epochs=4"]
SMALL = ["task=parabola", "task.n_samples=60", "task.batch_size=8", "task.val_batch_size=5", "model.hidden=[4]"]


def sweep(folder: str, *overrides: str) -> list[RunDir]:
    words = ["-m", f"hydra.sweep.dir={folder}", "sweep.processes=0", "callbacks.progress=null", *overrides]
    assert main(words) == 0
    found = SweepDir(Path(folder))
    return [found.run(job) for job in read_sweep(found.info).jobs]


@pytest.mark.parametrize(
    "words",
    one_of(
        2,
        [
            [*SMALL, "trainer.gradient_clip_val=0.1", "scheduler=onecycle"],
            SMALL,
            ["task=iris", "task.batch_size=16", "task.val_batch_size=7"],
            [*SMALL, "callbacks.lr=null", "callbacks.grad_norm=null"],
            ["task=linear_regression"],
            [*SMALL, "trainer.max_steps=14", "trainer.max_epochs=-1"],
            [*SMALL, "trainer.check_val_every_n_epoch=2", "task.val_fraction=0.3"],
            ["task=minimize_quadratic"],
        ],
    ),
    ids=lambda words: "-".join(word.partition("=")[2].replace("/", "") for word in words),
)
def test_a_run_of_a_stack_logs_what_it_logs_under_the_lightning_engine(words: list[str], workdir: Path) -> None:
    varied = ["seed=3,4", *EXACT, *words]

    stacked = sweep("stacked", *varied)
    alone = sweep("alone", *varied, "engine=lightning")

    for mine, other in zip(stacked, alone, strict=True):
        assert (read_info(mine.info).engine, read_info(other.info).engine) == ("vectorized", "lightning")
        rows, expected = read_history(mine.history).rows, read_history(other.history).rows
        assert [list(row) for row in rows] == [list(row) for row in expected]
        assert rows == [pytest.approx(row, rel=1e-9, abs=1e-12) for row in expected]


def test_a_run_that_logs_single_steps_trains_alone_and_the_reason_is_said(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [run, _] = sweep("sweep", "seed=0,1", "trainer.max_epochs=2", "trainer.log_every_n_steps=2", *SMALL)

    assert "a stack cannot follow trainer.log_every_n_steps=2" in capsys.readouterr().err
    assert any("train/loss_step" in row for row in read_history(run.history).rows)
