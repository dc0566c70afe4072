"""NaN and Inf: found at once, told with step, metric and gradient norm, and the last finite state kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from faults.training import OFTEN, SMALL
from shoal.app.resume import resume
from shoal.app.start import start
from shoal.cli import train as main
from shoal.names import GRAD_NORM
from shoal.record.callbacks import norm
from shoal.record.checkpoints.checkpoint_file import load
from shoal.record.checkpoints.weights import finite
from shoal.rundir import RunDir, RunInfo, Status, SweepDir, read_history, read_info, read_sweep

pytestmark = pytest.mark.usefixtures("undrawn")

STEEP = ["optimizer=sgd", "optimizer.lr=0.5", "model.activation=identity", "model.hidden=[8]"]
"""Diverges in its second epoch."""
ENGINES = ["lightning", "vectorized"]


def diverged(path: Path, words: Sequence[str]) -> tuple[RunDir, RunInfo]:
    code = main([*SMALL, *words, f"hydra.run.dir={path}"])
    info = read_info(RunDir(path).info)
    assert (code, info.status) == (1, Status.DIVERGED)
    return RunDir(path), info


@pytest.mark.parametrize("engine", ENGINES)
def test_the_largest_gradient_norm_before_is_named(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, info = diverged(tmp_path / "run", [*STEEP, f"engine={engine}"])

    said = capsys.readouterr().err
    norms = [row[GRAD_NORM] for row in read_history(run.history).rows if math.isfinite(row.get(GRAD_NORM, math.nan))]
    assert norms
    assert f"the largest gradient norm measured before it was {max(norms):.3g}" in said
    assert f"at step {read_history(run.history).rows[-1]['step']:.0f} (epoch" in said
    assert (info.reason or "") in said
    assert len(said.splitlines()) <= 3


def test_in_the_first_epoch_too_a_gradient_norm_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    diverged(tmp_path / "run", ["optimizer=sgd", "optimizer.lr=1e9"])

    assert "the largest gradient norm measured before it was " in capsys.readouterr().err


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_that_diverges_in_its_first_epoch_keeps_its_first_state(engine: str, tmp_path: Path) -> None:
    run, _ = diverged(tmp_path / "run", ["optimizer=sgd", "optimizer.lr=1e9", f"engine={engine}"])
    kept = load(run.last)
    began = {name: weight.clone() for name, weight in kept["state_dict"].items()}
    resume(run.path, ["optimizer.lr=0.01"])
    start([*SMALL, "optimizer=sgd", "optimizer.lr=0.01", f"engine={engine}", f"hydra.run.dir={tmp_path / 'other'}"])

    mine, theirs = load(run.last)["state_dict"], load(RunDir(tmp_path / "other").last)["state_dict"]
    assert kept["global_step"] == 0
    assert finite(began)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine | theirs)
    assert read_history(run.history).rows == read_history(RunDir(tmp_path / "other").history).rows


def test_runs_of_a_stack_that_diverge_keep_a_finite_state_and_name_the_norm(tmp_path: Path) -> None:
    words = [*STEEP, "optimizer.lr=0.01,0.5,1e9", f"hydra.sweep.dir={tmp_path / 'sweep'}", "sweep.processes=0"]

    code = main(["-m", *SMALL, *words])

    sweep = SweepDir(tmp_path / "sweep")
    good, late, early = read_sweep(sweep.info).jobs
    states = [load(sweep.run(job).last) for job in (late, early)]
    assert code == 1
    assert [job.status for job in (good, late, early)] == ["completed", "diverged", "diverged"]
    assert "the largest gradient norm measured before it was " in (late.reason or "")
    assert all(finite(state["state_dict"]) for state in states)
    assert states[0]["global_step"] > 0 == states[1]["global_step"]


@pytest.mark.parametrize("damage", ["best", "last"])
def test_damage_to_one_checkpoint_of_a_run_of_a_stack_spares_the_other(damage: str, tmp_path: Path) -> None:
    main(["-m", *SMALL, "seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}", "sweep.processes=0"])
    run = RunDir(tmp_path / "sweep" / "0000")
    damaged, other = (run.best, run.last) if damage == "best" else (run.last, run.best)

    with damaged.open("r+b") as file:
        file.seek(100)
        file.write(b"flip")

    assert load(other)["global_step"] == 15


def test_a_loss_that_is_no_number_stops_the_run_at_its_last_finite_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"

    steep = ["optimizer=sgd", "optimizer.lr=3", "model.activation=identity", "model.hidden=[8,8,8]"]
    code = main([*SMALL, *OFTEN, *steep, f"hydra.run.dir={path}"])

    said = capsys.readouterr().err
    info = read_info(RunDir(path).info)
    assert code == 1
    assert info.status is Status.DIVERGED
    assert "at step" in said
    assert "loss is " in said
    assert "trainer.gradient_clip_val" in said
    assert len(said.splitlines()) <= 3
    assert "the run diverged" in (info.reason or "")
    weights = load(RunDir(path).last)["state_dict"].values()
    assert all(bool(weight.isfinite().all()) for weight in weights)


def test_a_learning_rate_of_a_billion_diverges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run"

    code = main([*SMALL, "optimizer=sgd", "optimizer.lr=1e9", f"hydra.run.dir={path}"])

    assert code == 1
    assert read_info(RunDir(path).info).status is Status.DIVERGED
    assert "lower optimizer.lr" in capsys.readouterr().err


def test_the_norm_of_sparse_gradients_is_that_of_the_same_ones_in_full() -> None:
    norms = []
    for sparse in (True, False):
        module = torch.nn.Embedding(5, 3, sparse=sparse)
        module.weight.data.copy_(torch.arange(15.0).view(5, 3))
        module(torch.tensor([1, 1, 4])).square().sum().backward()
        norms.append(norm(module))

    assert norms[0] == norms[1] > 0
