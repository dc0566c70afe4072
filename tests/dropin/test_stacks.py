"""Jobs of a Lightning program that knows nothing of shoal, in stacks: what they leave is what they leave alone."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from hydra.errors import CompactHydraException
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

import sweepable
from foreign import differences, swept
from shoal.dropin import hydra_launch
from shoal.dropin.fitness import why_alone
from shoal.dropin.gathering import GatheredIterator, Gathering
from shoal.dropin.own_values import is_settings
from shoal.dropin.routines import Routine
from shoal.dropin.shared_samples import shared
from shoal.dropin.waiting import Waiting
from shoal.dropin.when import Stacks
from shoal.dropin.worth import why_not
from shoal.engines.vectorized.signature import Signature, difference, signature

HERE = ["hydra/launcher=shoal", "hydra.launcher.processes=0", "hydra.launcher.stacks=always"]

FEW = ["+trainer.limit_train_batches=3", "+trainer.limit_val_batches=1"]
"""Batches of one size, so that few programs are made."""


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the launcher has to say of jobs."""
    found: list[str] = []
    monkeypatch.setattr(hydra_launch._Listener, "notes", lambda self, job, text: found.append(text))
    monkeypatch.setattr(logging.getLogger("pytorch_lightning"), "level", logging.ERROR)
    return found


def both(words: list[str], folder: Path, patch: pytest.MonkeyPatch) -> tuple[list[str], Any, Any]:
    """In what a sweep with shoal differs from one with Hydra's own launcher, and what the jobs of each returned."""
    place, results = folder / "program", []
    for name, more in (("shoal", HERE), ("basic", [])):
        found = swept(sweepable.task, sweepable.CONFIG, [*words, *more], patch, folder=place)
        results.append([each.return_value for each in found])
        place.rename(folder / name)
    return differences(folder / "shoal" / "swept", folder / "basic" / "swept"), *results


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "words",
    [
        [
            "seed=range(3)",
            "optimizer=sgd",
            "scheduler=cycle",
            "by_step=true",
            "+trainer.gradient_clip_val=0.3",
            "again=true",
        ],
        [
            "seed=range(3)",
            "norm=true",
            "scheduler=plateau",
            "lr=0.3",
            "dropout=0.2",
            "+trainer.accumulate_grad_batches=2",
            "recurrent=true",
        ],
        ["seed=range(2)", "optimizer=stateless", "trainer.max_epochs=2", "odd=late", "lr=0.05,0.1", *FEW],
    ],
)
def test_jobs_in_a_stack_leave_and_return_what_they_do_alone(
    words: list[str], notes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, mine, theirs = both(words, tmp_path, monkeypatch)

    assert notes == []
    assert found == []
    assert mine == pytest.approx(theirs, rel=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_jobs_that_cannot_stack_train_alone_and_the_log_says_why(
    notes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {
        "numpy": "draws from a global random generator",
        "warming": "it depends on more than parameters, buffers and the batch",
        "counts": "changes Classifier.steps, which is no attribute of its module",
        "writes": "writes a file",
        "freezes": "it trains other parameters than at its beginning",
        "spare": "the loss does not reach spare.weight",
    }
    words = ["seed=range(2)", f"odd={','.join(odd)}", "trainer.max_epochs=2", *FEW]

    found, mine, theirs = both(words, tmp_path, monkeypatch)

    assert [sum(told in note for note in notes) for told in odd.values()] == [2] * len(odd)
    assert len(notes) == 2 * len(odd)
    assert found == []
    assert mine == pytest.approx(theirs, rel=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"overfit_batches": 2}, "trainer.overfit_batches is 2: without it, it stacks"),
        ({"fast_dev_run": True}, "trainer.fast_dev_run is True: without it, it stacks"),
        ({"val_check_interval": 0.5}, "trainer.val_check_interval is 0.5: without it, it stacks"),
    ],
)
def test_a_setting_that_keeps_a_job_alone_is_told_as_it_was_given(settings: dict[str, Any], told: str) -> None:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **settings)

    found = why_alone(trainer)

    assert found == told


def _loader(**settings: Any) -> DataLoader[Any]:
    data = TensorDataset(torch.arange(20.0)[:, None], torch.arange(20))
    return DataLoader(data, batch_size=6, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"shuffle": True},
        {"shuffle": True, "drop_last": True, "generator": torch.Generator()},
        {"sampler": WeightedRandomSampler(torch.arange(20.0), 20)},
    ],
)
def test_gathered_batches_are_those_of_the_loader_and_draw_what_it_draws(settings: dict[str, Any]) -> None:
    found = []
    for gathering in (None, Gathering(at_once=True)):
        loader = _loader(**settings)
        torch.default_generator.manual_seed(3)
        if loader.generator is not None:
            loader.generator.manual_seed(4)
        feed = gathering.feed(loader) if gathering else None
        batches = GatheredIterator(loader, feed) if feed else iter(loader)
        found.append([[leaf.tolist() for leaf in batch] for batch in batches] + [float(torch.rand(()))])

    assert found[0] == found[1]


class Jittered(TensorDataset):
    """SampleTensors that are drawn anew each time."""

    def __getitem__(self, place: int) -> Any:
        return self.tensors[0][place] + torch.rand(()), self.tensors[1][place]


class Own(TensorDataset):
    """SampleTensors that change with a generator of their own."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        super().__init__(*tensors)
        self.generator = torch.Generator()

    def __getitem__(self, place: int) -> Any:
        return self.tensors[0][place] + torch.rand((), generator=self.generator), self.tensors[1][place]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Jittered, "its samples are drawn each time they are fetched"),
        (Own, "its samples change each time they are fetched"),
    ],
)
def test_samples_that_are_drawn_anew_are_not_gathered_nor_drawn_from(kind: type[TensorDataset], told: str) -> None:
    data = kind(torch.arange(100.0), torch.arange(100))
    loader, gathering = DataLoader(data, batch_size=4), Gathering(at_once=True)
    before = torch.get_rng_state()

    feed = gathering.feed(loader)

    assert feed is None
    assert gathering.reasons[loader] == told
    assert torch.equal(torch.get_rng_state(), before)
    if isinstance(data, Own):
        assert torch.equal(data.generator.get_state(), torch.Generator().get_state())


def test_equal_data_sets_of_several_jobs_are_fetched_once() -> None:
    gathering = Gathering(at_once=True)

    one, other = (gathering.feed(_loader(shuffle=True)) for _ in range(2))

    assert one is not None
    assert other is not None
    assert one.samples is other.samples


def _waiting(epochs: int, *, step: int = 0, max_steps: int = -1) -> Any:
    trainer = SimpleNamespace(max_epochs=epochs, max_steps=max_steps, check_val_every_n_epoch=1)
    fit, train = SimpleNamespace(trainer=trainer, accumulate=1), SimpleNamespace(sizes=(16,) * 9 + (4,))
    return Mock(Waiting, fit=fit, train=train, val=SimpleNamespace(sizes=(16, 16)), epoch=0, step=step)


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        ([_waiting(50)] * 2, "a stack pays from 1500 steps of all its jobs on, and 2 jobs have 1100 left"),
        ([_waiting(50)] * 3, None),
        ([_waiting(-1)] * 2, None),
        ([_waiting(-1, step=100, max_steps=600)] * 2, "a stack pays from 1500 steps"),
    ],
)
def test_a_stack_is_made_where_its_jobs_have_steps_enough_to_pay_for_it(jobs: list[Any], told: str | None) -> None:
    reason = why_not(jobs, Stacks.AUTO)

    assert reason is None if told is None else str(reason).startswith(told)
    assert why_not(jobs, Stacks.ALWAYS) is None
    assert why_not(jobs, Stacks.NEVER) is not None


@pytest.mark.parametrize("setting", [{"stacks": "often"}, {"processes": -1}, {"processes": True}, {"resume": "maybe"}])
def test_a_wrong_setting_of_the_launcher_is_named_with_what_is_allowed(setting: dict[str, Any]) -> None:
    [(name, value)] = setting.items()

    with pytest.raises(CompactHydraException, match=f"hydra.launcher.{name}={value}: must be"):
        hydra_launch.Settings(**setting)


def test_a_setting_that_there_is_not_is_named_with_those_of_the_launcher() -> None:
    told = "hydra.launcher.proceses=2: is no setting of this launcher; did you mean processes?"

    with pytest.raises(CompactHydraException, match=re.escape(told)):
        hydra_launch.Settings.of({"proceses": 2, "resume": True})


def test_samples_that_another_process_has_gathered_are_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with shared() as samples:
        one = Gathering(at_once=True, shared=samples).feed(_loader(shuffle=True))
        monkeypatch.setattr(TensorDataset, "__getitem__", lambda *_: pytest.fail("it was fetched"))

        other = Gathering(at_once=True, shared=samples).feed(_loader(shuffle=True))

        assert one is not None
        assert other is not None
        assert all(map(torch.equal, one.samples.leaves, other.samples.leaves))
        assert str(one.samples.spec) == str(other.samples.spec)


def test_a_routine_that_never_waits_ends_at_once() -> None:
    routine = Routine(lambda: 3)

    assert not routine.resume()
    assert routine.result == 3


def test_a_number_called_as_the_settings_of_another_part_must_agree() -> None:
    def alike(number: float) -> Signature:
        module = pl.LightningModule()
        module.one, module.other = nn.Linear(1, 1), nn.Linear(1, 1)
        module.one.options, module.other.options = {"rate": number}, number
        return signature(module, None, torch.zeros(1), free=is_settings)

    assert str(difference(alike(1.0), alike(2.0))).startswith("other.options differs (1.0 and 2.0): ")
