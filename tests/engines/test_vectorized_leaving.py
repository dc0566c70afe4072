"""What steps leave on a module beside its weights: what later steps do not look at is no state, the rest is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import leaving
from driven import Kept
from shoal.engines import lightning
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.failure_words import reason
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.step.unfit import CannotStackError
from styled import job_of

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*")


@pytest.mark.parametrize(
    "module", [*map(leaving.leaving, leaving.STATELESS), leaving.Batched, leaving.Named, leaving.Reports]
)
def test_what_no_later_step_looks_at_keeps_no_run_out_of_a_stack(module: Any) -> None:
    running, kept = Running([Member.of(job_of(module, seed)) for seed in (0, 1)]), Kept()
    running.steps.guard.on = False

    assert unlike_alone(running) == {}
    fit(running, kept)

    own = job_of(module, 1)
    alone = own.module()
    with lightning.expected_warnings():
        expected = lightning.fit(own, alone).callback_metrics
    found = running.checkpoint(1)["state_dict"]
    assert found.keys() == alone.state_dict().keys()
    assert all(torch.allclose(found[name], value, rtol=1e-12) for name, value in alone.state_dict().items())
    assert {name: kept.curve(1, name)[-1] for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-12
    )


def test_a_module_is_afterwards_as_if_no_step_had_been_mapped() -> None:
    running = Running([Member.of(job_of(leaving.leaving(leaving.Rotary), seed)) for seed in (0, 1)])
    module = running.members[0].module
    before = [vars(part).keys() for part in module.modules()]

    unlike_alone(running)
    fit(running, Kept())

    assert [vars(part).keys() for part in module.modules()] == before
    assert module.layers[0].angles == {}


@pytest.mark.parametrize(("inner", "name"), leaving.STATES.items())
def test_what_later_steps_depend_on_is_named(inner: Any, name: str) -> None:
    found = unlike_alone(Running([Member.of(job_of(leaving.leaving(inner), seed)) for seed in (0, 1)]))

    assert set(found) == {0, 1}
    assert f"changes self.layers.0.{name}" in found[0]


@pytest.mark.parametrize("module", [leaving.Hands, leaving.HandsBack])
def test_what_training_and_validation_hand_over_is_named(module: Any) -> None:
    found = unlike_alone(Running([Member.of(job_of(module, seed)) for seed in (0, 1)]))

    assert "looks at self.center, which an earlier step has set" in found[0]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (leaving.Hides, "looks at self.layers.0.attention, which an earlier step has set"),
        (leaving.KeepsObject, "keeps an object with tensors in self.last"),
        (leaving.Late, "changes self.n"),
    ],
)
def test_what_no_stack_can_follow_in_a_later_step_ends_it(module: Any, words: str) -> None:
    running = Running([Member.of(job_of(module, seed)) for seed in (0, 1)])
    assert unlike_alone(running) == {}

    with pytest.raises(CannotStackError) as error:
        fit(running, Kept())

    assert words in reason(error.value, running.members[0].module)


def test_a_stack_that_goes_on_knows_what_its_steps_leave() -> None:
    runs = [job_of(leaving.Reports, seed) for seed in (0, 1)]
    running, kept = Running([Member.of(each) for each in runs]), Kept(save_after=2)
    unlike_alone(running)
    fit(running, kept)

    again, later = Running([Member.of(each) for each in runs]), Kept()
    again.load_state_dict(kept.saved)
    fit(again, later)

    assert later.curve(1, "train/last") == kept.curve(1, "train/last")[2:]
