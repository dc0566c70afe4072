"""Runs of modules that optimize by hand: what plain Lightning lets them do, and a resume to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest

import shoal
from own_runs import SAMPLES, write_task
from shoal.app.resume import resume
from shoal.record.checkpoints.checkpoint_file import load

pytestmark = pytest.mark.usefixtures("unrendered")


def of(module: str, *words: str, engine: str = "lightning") -> list[str]:
    """What trains this module of `by_hand` alone."""
    write_task("hand", module, SAMPLES, library="by_hand")
    return ["task=hand", f"engine={engine}", *words]


def test_gradients_that_the_next_batch_is_added_to_go_along_in_a_resume(workdir: Path) -> None:
    words = of("Accumulating", "trainer.limit_val_batches=0")  # a validation would let go of them
    whole, part = (shoal.train([*words, f"trainer.max_epochs={epochs}"]) for epochs in (4, 2))

    resume(part.path, ["trainer.max_epochs=4"], trusted=["by_hand"])

    found, expected = (load(run.path / "checkpoints" / "last.ckpt") for run in (part, whole))
    assert set(expected["gradients"]) == set(expected["state_dict"])
    for kind in ("state_dict", "gradients"):
        assert all(found[kind][name].equal(value) for name, value in expected[kind].items())


def test_a_module_clips_by_hand_and_counts_the_steps_of_all_optimizers(workdir: Path) -> None:
    run = shoal.train(of("Critical", "trainer.max_epochs=2"))

    assert run.info.status == "completed"
    assert run.info.steps == 2 * (5 + 1)
    assert len(load(run.path / "checkpoints" / "last.ckpt")["optimizer_states"]) == 2


def test_a_run_with_two_optimizers_goes_on_in_a_stack_of_its_own(workdir: Path) -> None:
    words = of("Critical", engine="vectorized")
    whole, part = (shoal.train([*words, f"trainer.max_epochs={epochs}"]) for epochs in (3, 2))

    resume(part.path, ["trainer.max_epochs=3"], trusted=["by_hand"])

    assert part.metrics.equals(whole.metrics)
    found, expected = (load(run.path / "checkpoints" / "last.ckpt") for run in (part, whole))
    assert len(found["optimizer_states"]) == 2
    assert all(found["state_dict"][name].equal(value) for name, value in expected["state_dict"].items())
