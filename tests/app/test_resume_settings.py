"""Every setting of every configuration file, changed where a run goes on: applied, refused, or harmless."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from faults.state import differences, state
from shoal.app.resume import resume
from shoal.app.start import start
from shoal.config.resume_overrides import FIXED, refuse_fixed
from shoal.errors import ConfigError, ShoalError, UsageError
from shoal.record.checkpoints.checkpoint_file import load
from shoal.rundir import RunDir, read_history, read_info
from shoal.rundir.changes import Change
from shoal.signals import Interrupted
from spread import one_of, turns
from stops import Stops

pytestmark = pytest.mark.usefixtures("undrawn")

CONF = Path(__file__).parents[2] / "conf"
WORDS = [
    "task.n_samples=30",
    "task.batch_size=6",
    "task.val_batch_size=3",
    "model.hidden=[3]",
    "callbacks=early_stopping",
    "callbacks.progress=null",
    "callbacks.early_stopping.patience=50",
]
"""24 samples to train on are 4 steps an epoch, and 2 batches to validate on."""
RATES = {
    "optimizer/sgd": "lr=0.2 momentum=0.5 weight_decay=0.1",
    "optimizer/adam": "lr=0.2 beta1=0.5 beta2=0.9 eps=0.1 weight_decay=0.1",
    "optimizer/adamw": "lr=0.2 beta1=0.5 beta2=0.9 eps=0.1 weight_decay=0.1",
    "optimizer/rmsprop": "lr=0.2 alpha=0.5 eps=0.1 weight_decay=0.1",
    "optimizer/lbfgs": "lr=0.2 max_iter=3 history_size=2 line_search_fn=null gradient=1e-9 step=1e-9 cost=1e-9",
    "optimizer/muon": "parts.matrices.optimizer.lr=0.2",
    "optimizer/own": "",
    "scheduler/none": "",
    "scheduler/cosine": "end=0.5",
    "scheduler/step": "every=1 gamma=0.5",
    "scheduler/exponential": "gamma=0.5",
    "scheduler/onecycle": "warm_up=0.7 start=0.5 end=0.1",
    "scheduler/warmup": "steps=13 start=0.5 then=cosine end=0.5",
    "scheduler/plateau": "factor=0.5 patience=0 threshold=0.5 cooldown=3 min_lr=0.001 mode=max monitor=train/loss",
}
"""A new value of every setting, by the file it stands in; that of a scheduler of the time shows in the rates.

All of a file together have an effect within four epochs: 13 steps of warming up end in the last of them.
"""
ENGINES = ("lightning", "vectorized")
ALONE = ("optimizer/muon",)
"""What a stack does not follow."""
SOLVER = "lm"
"""An optimizer of formulas, which these runs have not: how it goes on is tried in tests/fits."""
BESIDE = {
    "step.gamma": ["scheduler.every=1"],
    "onecycle.start": ["scheduler.warm_up=0.9"],
    "warmup.start": ["scheduler.steps=15"],
    "warmup.then": ["scheduler.steps=3"],
    "warmup.end": ["scheduler.steps=3", "scheduler.then=cosine"],
}
"""What a setting needs to have an effect within four epochs."""
OTHERS = {
    "trainer.accelerator": "auto",
    "trainer.devices": "auto",
    "trainer.deterministic": "true",
    "trainer.benchmark": "true",
    "trainer.num_sanity_val_steps": "2",
    "trainer.inference_mode": "false",
    "trainer.use_distributed_sampler": "false",
    "trainer.profiler": "simple",
    "trainer.detect_anomaly": "true",
    "trainer.sync_batchnorm": "true",
    "trainer.reload_dataloaders_every_n_epochs": "1",
    "trainer.enable_model_summary": "true",
    "trainer.min_epochs": "2",
    "trainer.min_steps": "2",
    "trainer.plugins": "[]",
    "trainer.gradient_clip_algorithm": "value",
    "callbacks.checkpoint.every_n_train_steps": "3",
    "callbacks.checkpoint.every_seconds": "1",
    "debug": "true",
    "tags": "[a]",
    "note": "of-mine",
    "expect": "[{metric:val/loss,below:9}]",
}
"""Settings that leave the training as it is, and what they are changed to."""
EFFECTIVE = {
    "trainer.max_epochs": "5",
    "trainer.max_steps": "13",
    "trainer.max_time": "00:01:00:00",
    "trainer.precision": "64-true",
    "trainer.gradient_clip_val": "0.01",
    "trainer.accumulate_grad_batches": "2",
    "trainer.limit_train_batches": "2",
    "trainer.limit_val_batches": "1",
    "trainer.overfit_batches": "1",
    "trainer.check_val_every_n_epoch": "2",
    "trainer.val_check_interval": "2",
    "trainer.log_every_n_steps": "2",
    "callbacks.checkpoint.monitor": "train/loss",
    "callbacks.checkpoint.mode": "max",
    "callbacks.early_stopping.monitor": "train/loss",
    "callbacks.early_stopping.mode": "max",
    "callbacks.early_stopping.patience": "1",
    "callbacks.early_stopping.min_delta": "9",
    "callbacks.lr": "null",
    "callbacks.grad_norm": "null",
    "engine": "vectorized",
    "threads": "2",
}
"""Settings that change the training or its record, and what they are changed to."""
REFUSED = {"trainer.fast_dev_run": "true", "trainer.limit_test_batches": "1", "trainer.limit_predict_batches": "1"}
ELSEWHERE = {
    "trainer.strategy": "another one starts processes",
    "trainer.num_nodes": "another number waits for other machines",
    "callbacks.progress.refresh_seconds": "the tests show no progress",
    "callbacks.progress.line_seconds": "the tests show no progress",
    "callbacks.progress": "the tests show no progress",
    "logger.tensorboard": "is a node",
    "logger.csv.save_dir": "is written beside the record",
    "logger.csv.name": "is written beside the record",
    "logger.csv.version": "is written beside the record",
    "logger.mlflow.experiment_name": "is written beside the record",
    "logger.mlflow.tracking_uri": "is written beside the record",
    "logger.wandb.project": "is written beside the record",
    "logger.wandb.save_dir": "is written beside the record",
    "logger.wandb.offline": "is written beside the record",
    "sweep": "is no part of a run",
    "hydra": "is no part of a run",
}
"""Settings that are not tried here, and why."""


def leaves(node: Any, key: str) -> Iterator[str]:
    """Dotted names of the settings of a node; of a node without any its own."""
    inner = {name: value for name, value in node.items() if name not in ("defaults", "_target_")}
    if not inner and key:
        yield key
    for name, value in inner.items():
        here = f"{key}.{name}".lstrip(".")
        yield from leaves(value, here) if isinstance(value, dict) else [here]


def configured(group: str) -> set[str]:
    """All settings of the files of a group."""
    found = set()
    for file in (CONF / group).glob("*.yaml"):
        content = yaml.safe_load(file.read_text()) or {}
        found |= set(leaves(content, "" if "@package" in file.read_text() else group))
    return {name for name in found if name != group}


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of two epochs, by what was set; each is trained once."""
    return {"where": tmp_path_factory.mktemp("halves")}


def half(halves: dict[str, Path], *words: str) -> Path:
    """A copy of a run of two epochs with these words."""
    name = " ".join(words)
    if name not in halves:
        path = halves["where"] / str(len(halves))
        start([*WORDS, *words, "trainer.max_epochs=2", f"hydra.run.dir={path}"])
        halves[name] = path
    shutil.copytree(halves[name], "half")
    return Path("half")


def unchanged(halves: dict[str, Path], *words: str) -> RunDir:
    """The run of two epochs with these words, gone on with as it was; each goes on once."""
    name = " ".join(["unchanged", *words])
    if name not in halves:
        shutil.rmtree("half", ignore_errors=True)
        halves[name] = halves["where"] / str(len(halves))
        shutil.copytree(gone_on(half(halves, *words)).path, halves[name])
        shutil.rmtree("half")
    return RunDir(halves[name])


def gone_on(path: Path, *changes: str, epochs: int = 4) -> RunDir:
    run, _ = resume(path, [f"trainer.max_epochs={epochs}", *changes])
    return run


def settings_of(run: RunDir) -> dict[str, Any]:
    """What the optimizer and the scheduler are set to at the end."""
    last = load(run.last)
    groups, [schedule] = last["optimizer_states"][0]["param_groups"], last["lr_schedulers"]
    plateau = ("factor", "patience", "threshold", "cooldown", "min_lrs", "mode")
    watched = {name: schedule[name] for name in plateau if name in schedule}
    return {"groups": [{**group, **({"lr": None} if watched else {})} for group in groups], "watched": watched}


def rates(run: RunDir) -> list[float]:
    return [row["lr"] for row in read_history(run.history).rows]


def test_every_setting_of_every_file_has_a_fate_here() -> None:
    fixed = {name for group in FIXED for name in configured(group) if name.startswith(f"{group}.")} | set(FIXED)
    top = yaml.safe_load((CONF / "train.yaml").read_text())
    names = {*configured("trainer"), *configured("callbacks"), *configured("logger"), *(top.keys() - {"defaults"})}
    tried = {*OTHERS, *EFFECTIVE, *REFUSED, *ELSEWHERE}

    assert names - fixed == tried
    for file in [*(CONF / "optimizer").glob("*.yaml"), *(CONF / "scheduler").glob("*.yaml")]:
        if file.stem == SOLVER:
            continue
        given = {word.partition("=")[0].split(".")[0] for word in RATES[f"{file.parent.name}/{file.stem}"].split()}
        assert yaml.safe_load(file.read_text()).keys() - {"_target_"} == given | (
            {"nesterov"} if file.stem == "sgd" else {"momentum"} if file.stem == "rmsprop" else set()
        )


@pytest.mark.parametrize("group", FIXED)
def test_what_the_state_of_a_run_depends_on_is_refused(group: str) -> None:
    for name in {group, *(name for name in configured(group) if name.startswith(f"{group}."))}:
        with pytest.raises(ConfigError, match="cannot change in a run that has begun"):
            refuse_fixed([Change(name, 1, 2)])


def changed_where_it_goes_on(halves: dict[str, Path], place: str, words: list[str], engine: str) -> None:
    """See that a run whose optimizer or scheduler is changed ends as one that had these settings all along."""
    group, choice = place.split("/")
    beside = [each for word in words for each in BESIDE.get(f"{choice}.{word.partition('=')[0]}", ())]
    chosen = [f"{group}={choice}", f"engine={engine}", *(beside if len(words) == 1 else ())]
    momentum = ["optimizer.momentum=0.9"] if any(word.startswith("momentum") for word in words) else []
    changes = [f"{group}.{word}" for word in words]

    changed = gone_on(half(halves, *chosen, *momentum), *changes)

    whole, _ = start([*WORDS, *chosen, *changes, "trainer.max_epochs=4", "hydra.run.dir=whole"])
    assert settings_of(changed) == settings_of(whole)
    if choice != "plateau":
        assert rates(changed)[2:] == rates(whole)[2:]
        assert rates(changed)[2:] != rates(unchanged(halves, *chosen))[2:] or group == "optimizer"


@pytest.mark.parametrize(
    ("place", "engine"),
    [
        *turns([place for place, words in RATES.items() if words and place not in ALONE], ENGINES),
        *((place, "lightning") for place in ALONE),
    ],
)
def test_changed_rates_are_what_they_would_have_been(
    place: str, engine: str, halves: dict[str, Path], workdir: Path
) -> None:
    changed_where_it_goes_on(halves, place, RATES[place].split(), engine)


@pytest.mark.long
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("place", "word"), [(place, word) for place, words in RATES.items() for word in words.split()])
def test_a_single_changed_rate_is_what_it_would_have_been(
    place: str, word: str, engine: str, halves: dict[str, Path], workdir: Path
) -> None:
    if place in ALONE and engine == "vectorized":
        pytest.skip("trains alone")

    changed_where_it_goes_on(halves, place, [word], engine)


def unharmed(halves: dict[str, Path], *changes: str) -> None:
    """See that a run goes on to the bit as if these settings had not been changed."""
    expected = state(unchanged(halves).path)

    found = state(gone_on(half(halves), *changes).path)

    shutil.rmtree("half")
    assert [each for each in differences(expected, found) if ".config." not in each and "Timer" not in each] == []


def test_harmless_settings_change_no_bit(halves: dict[str, Path], workdir: Path) -> None:
    apart = "trainer.benchmark"  # torch warns of it beside trainer.deterministic

    unharmed(halves, *(f"{key}={value}" for key, value in OTHERS.items() if key != apart))
    unharmed(halves, f"{apart}={OTHERS[apart]}")


@pytest.mark.long
@pytest.mark.parametrize("key", OTHERS)
def test_a_single_harmless_setting_changes_no_bit(key: str, halves: dict[str, Path], workdir: Path) -> None:
    unharmed(halves, f"{key}={OTHERS[key]}")


@pytest.mark.parametrize("key", one_of(2, EFFECTIVE))
def test_an_effective_setting_changes_the_run_or_its_record(key: str, halves: dict[str, Path], workdir: Path) -> None:
    expected = state(unchanged(halves).path)
    change = f"{key}={EFFECTIVE[key]}"

    found = state(gone_on(half(halves), change, epochs=int(EFFECTIVE[key]) if "max_epochs" in key else 4).path)

    assert [each for each in differences(expected, found) if ".config" not in each] != [] or key == "threads"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("trainer.fast_dev_run=true", "its state depends on it"),
        ("trainer.limit_test_batches=1", "has no effect: there is no test part"),
        ("trainer.limit_predict_batches=1", "has no effect"),
        ("optimizer={_target_:shoal.optimizers.AdamW}", "its state depends on it"),
        ("scheduler={_target_:torch.optim.lr_scheduler.StepLR,step_size:2}", "its state depends on it"),
        ("optimizer=sgd", "a choice of a group cannot change"),
        ("seed=3", "its state depends on it"),
        ("resume=other", "its state depends on it"),
        ("optimizer.lrr=3", "no such setting"),
    ],
)
def test_what_cannot_change_is_refused_with_the_reason(
    change: str, said: str, halves: dict[str, Path], workdir: Path
) -> None:
    path = half(halves)
    before = state(path)

    with pytest.raises(ShoalError, match=said):
        gone_on(path, change)

    assert differences(before, state(path)) == []


def test_a_limit_behind_an_interrupted_run_is_refused(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stops = Stops(monkeypatch)
    stops.before(14)
    with pytest.raises(Interrupted):
        start([*WORDS, "trainer.max_epochs=9", "hydra.run.dir=run"])
    stops.before(None)

    for change, said in {
        "trainer.max_epochs=2": "is behind the run, which has done 3 epochs",
        "trainer.max_steps=14": "is behind the run, which has done 14 steps",
        "trainer.accumulate_grad_batches=2": "cannot change within an epoch: the run stands at batch 2 of epoch 3",
    }.items():
        with pytest.raises(ConfigError, match=said):
            resume(Path("run"), [change])


def test_a_run_that_ended_below_min_steps_was_not_ended_by_early_stopping(workdir: Path) -> None:
    words = [*WORDS, "callbacks.early_stopping.patience=1", "trainer.min_steps=26", "optimizer.lr=0.5"]
    whole, info = start([*words, "trainer.max_epochs=12", "hydra.run.dir=whole"])

    start([*words, "trainer.max_epochs=5", "hydra.run.dir=short"])
    short, _ = resume(Path("short"), ["trainer.max_epochs=12"])

    assert info.steps == 26
    assert differences(state(whole.path)["history"], state(short.path)["history"]) == []


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
def test_min_epochs_holds_early_stopping_back_after_a_resume_too(
    engine: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = ["callbacks.early_stopping.patience=1", "trainer.min_epochs=7", "trainer.max_epochs=12"]
    words = [*WORDS, *stopping, "optimizer.lr=0.5", f"engine={engine}"]
    whole, info = start([*words, "hydra.run.dir=whole"])
    stops = Stops(monkeypatch)

    stops.before(22)
    with pytest.raises(Interrupted):
        start([*words, "hydra.run.dir=stopped"])
    stops.before(None)
    stopped, _ = resume(Path("stopped"))

    assert info.epochs == 7
    assert differences(state(whole.path), state(stopped.path)) == []


def test_a_run_that_early_stopping_ended_needs_more_patience_to_go_on(workdir: Path) -> None:
    words = [*WORDS, "callbacks.early_stopping.patience=1", "optimizer.lr=0.5", "trainer.max_epochs=30"]
    whole, _ = start([*words, "callbacks.early_stopping.patience=3", "hydra.run.dir=whole"])
    run, info = start([*words, "hydra.run.dir=run"])

    with pytest.raises(UsageError, match="was stopped by early stopping"):
        resume(run.path, ["trainer.max_epochs=40"])
    resume(run.path, ["callbacks.early_stopping.patience=3"])

    assert info.epochs < read_info(whole.info).epochs
    assert differences(state(whole.path)["history"], state(run.path)["history"]) == []


def test_a_finished_cosine_goes_on_as_the_longer_one_and_says_so(
    halves: dict[str, Path], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = half(halves, "scheduler=cosine")
    whole, _ = start([*WORDS, "scheduler=cosine", "trainer.max_epochs=4", "hydra.run.dir=whole"])

    longer = gone_on(path)

    assert rates(longer)[2:] == rates(whole)[2:]
    assert "changed  learning rate of epoch 2: 0 -> 0.0005" in capsys.readouterr().err


def test_a_rate_of_zero_is_told(halves: dict[str, Path], workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cosine = "+scheduler={_target_:torch.optim.lr_scheduler.CosineAnnealingLR,T_max:2}"

    gone_on(half(halves, "~scheduler", cosine))

    assert "the scheduler has come to a learning rate of 0: nothing is learned in epoch 2" in capsys.readouterr().err


def test_the_best_state_is_chosen_anew_by_another_metric(halves: dict[str, Path], workdir: Path) -> None:
    run = gone_on(half(halves), "callbacks.checkpoint.monitor=train/loss")

    best = read_info(run.info).best
    assert best is not None
    since = [row["train/loss"] for row in read_history(run.history).rows[2:]]
    assert (best.metric, best.value) == ("train/loss", min(since))
