"""`shoal find-lr`: many rates at once, and which of them to take."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.app.find_lr import RatesTried
from shoal.cli import run
from shoal.errors import ShoalError
from shoal.rundir import SweepDir, read_sweep


def tried(*losses: float | None) -> RatesTried:
    return RatesTried(path=Path("sweep"), losses={10.0**place: loss for place, loss in enumerate(losses, -4)})


@pytest.mark.parametrize(
    ("losses", "best", "near", "diverged"),
    [
        ((9.0, 2.0, 1.0, 1.2, None), 1e-2, (1e-2, 1e-1), 1e0),
        ((1.4, 1.0, 1.4, 5.0), 1e-3, (1e-4, 1e-2), None),
        ((1.0, 5.0, 1.1, None, None), 1e-4, (1e-4, 1e-4), 1e-1),
        ((2.0, None, 1.0), 1e-2, (1e-2, 1e-2), None),
        ((float("nan"), 3.0), 1e-3, (1e-3, 1e-3), None),
    ],
)
def test_the_lowest_loss_tells_the_rate_and_its_neighbors_the_range(
    losses: tuple[float | None, ...], best: float, near: tuple[float, float], diverged: float | None
) -> None:
    found = tried(*losses)

    assert found.best == pytest.approx(best)
    assert found.near == pytest.approx(near)
    assert found.diverged_from == pytest.approx(diverged)


def test_where_every_rate_diverges_lower_ones_are_named() -> None:
    with pytest.raises(ShoalError, match="every rate diverged"):
        _ = tried(None, None).best


@pytest.mark.usefixtures("undrawn")
def test_the_rates_train_in_one_stack_and_the_best_is_told_with_its_command(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["task=parabola", "task.n_samples=64", "task.batch_size=16"]

    code = run(["find-lr", *words, "--rates", "6", "--steps", "8", "--from", "1e-5", "--to", "1e-1"])

    said = capsys.readouterr()
    (path,) = (workdir / "outputs" / "parabola").iterdir()
    sweep = read_sweep(SweepDir(path).info)
    assert code == 0
    assert "6 runs: 6 in 1 stack" in said.err
    assert len(sweep.jobs) == 6
    assert sweep.tags == ["find-lr"]
    assert "train with it: shoal train task=parabola task.n_samples=64 task.batch_size=16 optimizer.lr=" in said.out


def test_a_rate_of_ones_own_is_refused(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["find-lr", "optimizer.lr=0.1"])

    assert code == 2
    assert "is what is looked for" in capsys.readouterr().err
