"""Words that are no setting here, but are elsewhere or by habit: what does here what they were meant to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from shoal.config.choices import choices, groups, leaves, nodes_of
from shoal.errors import nearest, suggestion

_SEARCH = "-m hydra/sweeper=optuna sweep.n_trials=20 'optimizer.lr=tag(log,interval(1e-4,1e-1))'"
_SETTINGS: Mapping[str, str] = {
    "epochs": "trainer.max_epochs",
    "n_epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs",
    "steps": "trainer.max_steps",
    "n_steps": "trainer.max_steps",
    "iterations": "trainer.max_steps",
    "learning_rate": "optimizer.lr",
    "wd": "optimizer.weight_decay",
    "decay": "optimizer.weight_decay",
    "bs": "task.batch_size",
    "device": "trainer.accelerator",
    "gpus": "trainer.devices",
    "n_gpus": "trainer.devices",
    "grad_clip": "trainer.gradient_clip_val",
    "clip": "trainer.gradient_clip_val",
    "layers": "model.hidden",
    "hidden_size": "model.hidden",
    "hidden_sizes": "model.hidden",
    "hidden_dim": "model.hidden",
    "random_seed": "seed",
    "output_dir": "outputs",
    "out": "outputs",
    "name": "note",
    "exp_name": "note",
    "experiment_name": "note",
    "run_name": "note",
    "task_name": "note",
    "hydra.sweeper.n_trials": "sweep.n_trials",
    "hydra.sweeper.direction": "sweep.directions",
    "hydra.sweeper.sampler": "sweep.sampler",
    "hydra.sweeper.sampler._target_": "sweep.sampler",
    "hydra.sweeper.study_name": "sweep.study",
    "hydra.sweeper.storage": "sweep.storage",
    "hydra.sweeper.n_jobs": "sweep.batch",
    "hydra.launcher.n_jobs": "sweep.processes",
}
"""Names of settings in other programs, and what they are called here."""
_GROUPS: Mapping[str, str] = {
    "data": "task",
    "dataset": "task",
    "datamodule": "task",
    "net": "model",
    "network": "model",
    "module": "model",
    "criterion": "loss",
    "optim": "optimizer",
    "opt": "optimizer",
    "lr_scheduler": "scheduler",
    "callback": "callbacks",
    "exp": "experiment",
}
"""Names of groups in other programs, and what they are called here."""
_SENTENCES: Mapping[str, str] = {
    "ckpt_path": "a run goes on from its own: shoal resume RUN, or resume=DIRECTORY; to measure it: shoal eval RUN",
    "test": "the test part, which task.test_fraction keeps, is measured afterwards: shoal eval last --test",
    "train": "what was trained is measured without training: shoal eval RUN",
    "hparams_search": f"search with Optuna: {_SEARCH}",
    "optimized_metric": "trials are compared by callbacks.checkpoint.monitor=METRIC, or by sweep.objectives=METRIC",
    "paths": "run directories go below outputs=FOLDER",
    "local": "a file of yours is chosen as any other: conf/trainer/mine.yaml by trainer=mine",
    "extras": "each of them is a setting of its own: 'tags=[a,b]' note='...'; a run prints no table of its settings",
    "num_workers": "samples are in memory, no worker has to load them; processes of a sweep: sweep.processes=N",
    "pin_memory": "samples are in memory, on the device that trains",
    "compile": "a stack that trains long enough is compiled by itself",
    "print_config": "python train.py --cfg job shows the configuration without training",
}
_NO_LAUNCHER = "sweeps need none: -m trains the runs in stacks, and in sweep.processes=N worker processes"
_CHOICES: Mapping[str, str] = {
    "logger=wandb": "conf/logger/wandb.yaml of yours: wandb: {_target_: pytorch_lightning.loggers.WandbLogger}",
    "logger=neptune": "conf/logger/neptune.yaml of yours: neptune: {_target_: pytorch_lightning.loggers.NeptuneLogger}",
    "logger=comet": "conf/logger/comet.yaml of yours: comet: {_target_: pytorch_lightning.loggers.CometLogger}",
    "logger=many_loggers": "logger=many",
    "callbacks=none": "callbacks=quiet prints nothing; without one of them: callbacks.NAME=null",
    "trainer=ddp_sim": "trainer=cpu trainer.devices=2 trainer.strategy=ddp",
    "trainer=mps": "trainer=gpu",
    "hydra/launcher=joblib": _NO_LAUNCHER,
    "hydra/launcher=ray": _NO_LAUNCHER,
    "hydra/launcher=submitit_local": _NO_LAUNCHER,
    "hydra/launcher=submitit_slurm": "sweeps need none: SLURM starts their workers with workers=slurm",
    "hydra/sweeper=ax": f"search with Optuna: {_SEARCH}",
    "hydra/sweeper=nevergrad": f"search with Optuna: {_SEARCH}",
    **dict.fromkeys(
        [f"task={name}" for name in ("mnist", "fashion_mnist", "cifar", "cifar10", "cifar100", "imagenet", "images")],
        "images come from a LightningModule and a DataModule of yours: shoal new module",
    ),
    "debug=default": "trainer.fast_dev_run=true, and debug=true for a traceback",
    "debug=fdr": "trainer.fast_dev_run=true",
    "debug=fast_dev_run": "trainer.fast_dev_run=true",
    "debug=limit": "trainer.limit_train_batches=0.1 trainer.limit_val_batches=0.1, or trainer=one_batch",
    "debug=overfit": "trainer=overfit",
    "debug=profiler": "trainer=profiler",
}
"""Choices that other programs have, and what there is in their place."""
_SEARCHED = ("optimizer", "scheduler", "model", "callbacks", "task", "loss")
"""Groups whose other choices are looked through for a setting that those at hand lack."""
_ALIKE = 80
"""How alike, of 100, a slip of the fingers is to the name that was meant."""


def chosen_elsewhere(group: str, name: object) -> str | None:
    """The choice here that stands for a choice of other programs."""
    return _CHOICES.get(f"{group}={name}")


def set_elsewhere(key: str, value: str, config: Mapping[str, object]) -> str | None:
    """What does here what `key=value` was meant to do; None where nothing is known that would.

    `config` is what there is without it.
    """
    first, last = key.partition(".")[0], _last(key)
    for name in (key, first, last):
        if name in _SENTENCES:
            return _SENTENCES[name]
    if key in _GROUPS:
        instead = chosen_elsewhere(_GROUPS[key], value)
        listed = suggestion("" if instead else value, choices(_GROUPS[key]))
        return f"here it is {_GROUPS[key]}=NAME; {f'{instead}; ' if instead else ''}{listed}"
    # The same name in another node is nearer than what other programs call it.
    same = [each for each in leaves(config) if _last(each) == last and each != key and not each.startswith("sweep.")]
    found = same[:3] or [_SETTINGS[name] for name in (key, last) if name in _SETTINGS][:1]
    if found:
        return _meant(found, value)
    # The caller names what is near among Hydra's own.
    if key.startswith("hydra."):
        return None
    if first in _GROUPS and first not in config:
        return f"{first} is {_GROUPS[first]} here; its settings: python train.py --help {_GROUPS[first]}"
    return _of_other_choices(first, last, value) or _slipped(key, value, config)


def word_elsewhere(word: str) -> str | None:
    """What a word without a value may mean: the choice of some group."""
    meant = [f"{group}={word}" for group in groups() if word in choices(group)]
    return f"did you mean {' or '.join(meant)}?" if meant else None


def _slipped(key: str, value: str, config: Mapping[str, object]) -> str | None:
    """For a `key` without a group: the setting of any group whose name differs by a slip of the fingers."""
    from rapidfuzz import fuzz

    # A name near one at the top is told by the caller.
    if "." in key or nearest(key, [*config, *groups()]):
        return None
    names = {**_SETTINGS, **{_last(each): each for each in leaves(config)}}
    guess = nearest(key, names)
    return _meant([names[guess]], value) if guess and fuzz.ratio(key, guess) >= _ALIKE else None


def _of_other_choices(first: str, last: str, value: str) -> str | None:
    """The choices that have a setting of this name, in the group that the key begins with, else in any."""
    ways = []
    for group in [first] if first in _SEARCHED else _SEARCHED:
        having = {choice: key for choice in choices(group) for key in _settings(group, choice) if last == _last(key)}
        # The shortest key is a setting of the choice; a longer one belongs to a class within it.
        plainest = min(map(len, having.values()), default=0)
        having = {choice: key for choice, key in having.items() if len(key) == plainest}  # parts of others' parts aside
        if having:
            named = " or ".join(f"{group}={choice}" for choice in having)
            ways.append(f"{named} has it: {_typed(next(iter(having.values())), value)}")
    return "; ".join(ways) or None


def _settings(group: str, choice: str) -> Iterator[str]:
    """The settings that the file of a choice lists."""
    return (key for name, node in nodes_of(group, choice) for key in leaves(node, name))


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _meant(keys: Sequence[str], value: str) -> str:
    needed = {"sweep.n_trials": " with -m hydra/sweeper=optuna"}
    needs = needed.get(keys[0], " with -m" if keys[0].startswith("sweep.") else "")
    return f"did you mean {' or '.join(_typed(key, value) for key in keys)}{needs}?"


def _typed(key: str, value: str) -> str:
    """A setting as one types it in any shell."""
    word = f"{key}={value}"
    # `shlex.quote` turns a quote within into something nobody wants to read.
    return word if word == shlex.quote(word) or "'" in word else f"'{word}'"
