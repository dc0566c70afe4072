"""Callbacks that average weights: what is recorded, and how a run goes on from them."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, namedtuple
from pathlib import Path

import pytest
import torch

from faults.state import differences, state
from shoal.app.resume import resume
from shoal.app.start import start
from shoal.errors import ConfigError
from shoal.loaded.run import Run
from shoal.record.checkpoints.weights import cloned
from shoal.rundir import RunDir, read_history, read_info
from shoal.signals import Interrupted
from spread import turns
from stops import Stops

pytestmark = [
    pytest.mark.usefixtures("undrawn"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]

WORDS = ["task.n_samples=30", "task.batch_size=6", "model.hidden=[3]", "callbacks=quiet", "optimizer.lr=0.05"]
"""24 samples to train on are 4 steps an epoch."""
CALLBACKS = {
    "swa": "StochasticWeightAveraging,swa_lrs:0.01,swa_epoch_start:3,annealing_epochs:3",
    "ema": "EMAWeightAveraging,decay:0.9",
    "ema by epoch": "EMAWeightAveraging,decay:0.5,update_every_n_steps:2,update_starting_at_epoch:1",
    "mean": "WeightAveraging",
}


def train(path: str, name: str, epochs: int = 8) -> RunDir:
    callback = f"+callbacks.average={{_target_:pytorch_lightning.callbacks.{CALLBACKS[name]}}}"
    run, _ = start([*WORDS, callback, f"trainer.max_epochs={epochs}", f"hydra.run.dir={path}"])
    return run


def test_a_copied_state_keeps_what_its_containers_are() -> None:
    weights = torch.ones(2)
    state = {
        "milestones": Counter([2, 2, 5]),
        "sums": defaultdict(list, {"a": [weights]}),
        "state_dict": OrderedDict(a=weights),
        "moment": namedtuple("Moment", "first second")(weights, 2),
    }

    copied = cloned(state)

    assert differences(state, copied) == []
    assert copied["sums"]["b"] == []
    assert copied["state_dict"]["a"] is not weights
    assert copied["moment"].first is not weights


@pytest.mark.parametrize("name", CALLBACKS)
def test_both_checkpoints_evaluate_to_what_is_recorded(name: str, workdir: Path) -> None:
    run = train("run", name)

    info, last = read_info(run.info), Run(run.path).evaluate("last")
    assert info.best is not None
    assert last["val/loss"] == pytest.approx(info.final["val/loss"], rel=1e-6)
    assert Run(run.path).evaluate("best")["val/loss"] == pytest.approx(info.best.value, rel=1e-6)
    assert info.best.value == min(row["val/loss"] for row in read_history(run.history).rows if "val/loss" in row)


@pytest.mark.parametrize(("name", "step"), turns(CALLBACKS, [10, 16, 22]))
def test_an_average_that_was_interrupted_goes_on_to_the_bit(
    name: str, step: int, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stops = train("whole", name), Stops(monkeypatch)

    stops.before(step)
    with pytest.raises(Interrupted):
        train("stopped", name)
    stops.before(None)
    resume(Path("stopped"))

    assert differences(state(whole.path), state(Path("stopped"))) == []


@pytest.mark.parametrize("name", ["ema", "ema by epoch", "mean"])
def test_a_finished_average_goes_on_as_the_longer_run_would(name: str, workdir: Path) -> None:
    whole = train("whole", name)

    train("short", name, epochs=5)
    resume(Path("short"), ["trainer.max_epochs=8"])

    one, other = state(whole.path), state(Path("short"))
    assert differences(one["last"]["optimizer_states"], other["last"]["optimizer_states"]) == []
    assert differences(one["last"]["current_model_state"], other["last"]["current_model_state"]) == []
    assert differences(one["last"]["state_dict"], other["last"]["state_dict"]) == []


@pytest.mark.parametrize("name", ["ema", "mean"])
def test_a_run_goes_on_without_an_average_from_the_weights_it_trained(name: str, workdir: Path) -> None:
    start([*WORDS, "trainer.max_epochs=4", "hydra.run.dir=never"])
    train("run", name, epochs=2)

    resume(Path("run"), ["callbacks.average=null", "trainer.max_epochs=4"])

    run = Run("run")
    assert differences(state(Path("never"))["last"]["state_dict"], state(run.path)["last"]["state_dict"]) == []
    best = run.info.best
    assert best is not None
    assert run.evaluate("last")["val/loss"] == pytest.approx(run.info.final["val/loss"], rel=1e-6)
    assert run.evaluate("best")["val/loss"] == pytest.approx(best.value, rel=1e-6)


def test_stochastic_averaging_stays_where_it_has_begun(workdir: Path) -> None:
    train("run", "swa", epochs=5)

    with pytest.raises(ConfigError, match="cannot change once weights are averaged"):
        resume(Path("run"), ["callbacks.average=null", "trainer.max_epochs=8"])
