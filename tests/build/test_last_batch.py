"""A last batch that is smaller than the others: left out where that is asked for, refused where a model fails on it."""

from __future__ import annotations

from pathlib import Path

import pytest

import shoal
from shoal.errors import ConfigError
from shoal.tasks import Batches, Parabola

ENGINES = ["lightning", "vectorized"]
NORMALISED = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, dims: int = 1):
        norm = nn.BatchNorm1d(4)
        if dims == 2:
            norm = nn.Sequential(nn.Unflatten(1, (1, 4)), nn.BatchNorm1d(1), nn.Flatten())
        super().__init__(nn.Linear(inputs, 4), norm, nn.ReLU(), nn.Linear(4, outputs))
"""
TASK = ["task=parabola", "task.n_samples=65", "task.val_fraction=0", "task.batch_size=16", "trainer.max_epochs=2"]
TASK += ["callbacks=quiet", "logger=none", "~model", "+model={_target_:normalised.Net}"]


@pytest.fixture
def _normalised(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "normalised.py").write_text(NORMALISED)
    monkeypatch.syspath_prepend(workdir)


@pytest.mark.usefixtures("_normalised", "unrendered")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_last_batch_of_one_that_normalisation_fails_on_is_refused(
    engine: str,
) -> None:
    with pytest.raises(ConfigError) as caught:
        shoal.train([*TASK, f"engine={engine}"])

    run = shoal.train([*TASK, f"engine={engine}", "task.drop_last=true"])

    assert caught.value.key == "task.batch_size"
    assert "leaves one sample in the last batch of an epoch, and BatchNorm needs two at least" in caught.value.text()
    assert "task.drop_last=true leaves that batch out" in caught.value.text()
    assert run.info.steps == 8


@pytest.mark.usefixtures("_normalised", "unrendered")
@pytest.mark.parametrize(
    "words",
    [
        ["task.batch_size=32", "task.n_samples=64"],
        ["trainer.limit_train_batches=4"],
        ["model.dims=2"],
    ],
)
def test_what_normalisation_takes_is_not_refused(words: list[str]) -> None:
    model = [word.replace("model.dims=2", "+model.dims=2") for word in words]

    assert shoal.train([*TASK, *model]).status == "completed"


def test_batches_of_one_that_normalisation_fails_on_have_another_way_out(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workdir / "normalised.py").write_text(NORMALISED)
    monkeypatch.syspath_prepend(workdir)

    with pytest.raises(ConfigError, match=r"set task\.batch_size to 2 or more"):
        shoal.train([*TASK, "task.batch_size=1"])


@pytest.mark.usefixtures("unrendered")
def test_a_run_without_its_last_batches_is_the_same_by_both_engines(workdir: Path) -> None:
    words = ["task=parabola", "task.n_samples=70", "task.batch_size=16", "task.drop_last=true", "trainer.max_epochs=3"]
    words += ["callbacks=quiet", "logger=none", "trainer.precision=64-true"]

    one, other = (shoal.train([*words, f"engine={engine}"]) for engine in ENGINES)

    assert one.info.steps == other.info.steps == 9
    for name in ("train/loss", "val/loss"):
        assert one.metrics[name].to_list() == pytest.approx(other.metrics[name].to_list(), rel=1e-9)


def test_only_a_smaller_last_batch_is_left_out() -> None:
    samples = Parabola(n_samples=100, val_fraction=0).data().train

    sizes = {
        (size, drops): [len(x) for x, _ in Batches(samples, batch_size=size, seed=0, drop_last=drops)]
        for size in (30, 50, None)
        for drops in (True, False)
    }

    assert sizes[30, True] == [30, 30, 30]
    assert sizes[30, False] == [30, 30, 30, 10]
    assert sizes[50, True] == sizes[50, False] == [50, 50]
    assert sizes[None, True] == [100]
    assert len(Batches(samples, batch_size=30, drop_last=True)) == 3
