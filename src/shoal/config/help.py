"""`shoal train --help`, for people: the groups, the settings that are used most, and any group, choice or setting."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from shoal.config import experiments
from shoal.config.choices import TARGET, choices, groups, leaves, nodes_of, note_of
from shoal.config.compose import PRIMARY, SWEEP, Composed, composed
from shoal.config.shipped_schemas import shipped
from shoal.errors import UsageError, nearest, shown, suggestion

WIDTH = 80
GROUPS: Mapping[str, str] = {
    "task": "what is learned, and from which samples",
    "model": "what learns it",
    "optimizer": "how its parameters move",
    "scheduler": "how the learning rate changes",
    "loss": "what is made small",
    "trainer": "where and how long: all arguments of Lightning's Trainer",
    "callbacks": "checkpoints, early stopping, progress",
    "logger": "event files for TensorBoard",
    "workers": "where the runs of a sweep train: here, or through SLURM, ssh, any command",
    "experiment": "a whole configuration, and what is expected of it",
    "check": "measure derivatives, a reload, devices; train nothing",
}
"""What each group chooses."""
USED_MOST = (
    "task.n_samples",
    "task.noise",
    "task.batch_size",
    "task.val_fraction",
    "model.hidden",
    "model.activation",
    "model.dropout",
    "optimizer.lr",
    "optimizer.weight_decay",
    "trainer.max_epochs",
    "trainer.accelerator",
    "trainer.precision",
    "trainer.gradient_clip_val",
    "callbacks.checkpoint.monitor",
    "seed",
    "tags",
    "note",
    "threads",
    "outputs",
    "sweep.dry_run",
    "sweep.report",
)
OPTIONS: Mapping[str, str] = {
    "-m": "a sweep: every combination of values such as optimizer.lr=1e-3,1e-2",
    "--cfg job": "show the whole configuration, and train nothing",
    "--help NAME": "a group, a choice or a setting: optimizer, task=csv, optimizer.lr",
    "--config-dir FOLDER": "YAML files of yours; else those in conf/ here",
    "-sc install=bash": 'completion: eval "$(shoal train -sc install=bash)", or zsh, fish',
}
EXAMPLES = (
    "shoal train task=parabola optimizer.lr=1e-2",
    "shoal train task=csv task.path=data.csv task.target=price",
    "shoal train -m optimizer.lr=1e-3,1e-2 'seed=range(8)'",
)


def text(topics: Sequence[str], *, config_dir: str | None = None, config_name: str | None = None) -> str:
    """The help on these topics; on everything where there are none.

    Raises:
        UsageError: where there is no such group, choice or setting.
    """
    with composed([], config_dir=config_dir, config_name=config_name) as found:
        parts = [_topic(topic, found) for topic in topics] or [_overview(found)]
    return "\n\n".join(parts)


def _overview(found: Composed) -> str:
    lines = ["Usage: shoal train [GROUP=CHOICE ...] [KEY=VALUE ...] [-m]", ""]
    lines += ["Trains a run, or with -m a sweep. It is the same as python train.py.", ""]
    lines += ["Groups: each takes one of its choices, as in optimizer=sgd"]
    for group, meaning in GROUPS.items():
        lines += _entry(group, f"{meaning}: {_some(choices(group))}", 12)
    lines += ["", "Settings that are used most, with what they are unless set"]
    for key in USED_MOST:
        value = OmegaConf.select(found.config, key)
        lines += _entry(f"{key}={shown(_raw(value))}", _first_sentence(_schema(key, found).get("description", "")), 36)
    lines += ["", "All of them: --help GROUP, for example --help optimizer or --help task=csv"]
    lines += ["", "Options", *(line for name, meaning in OPTIONS.items() for line in _entry(name, meaning, 21))]
    return "\n".join([*lines, "", "Examples", *(f"  {each}" for each in EXAMPLES)])


def _topic(topic: str, found: Composed) -> str:
    group, equals, choice = topic.partition("=")
    # Choices before settings: a group's name is a key of the configuration as well.
    if equals and choice in choices(group):
        return _choice(group, choice)
    if equals and choices(group):
        raise UsageError(f"no such {group}: {choice}", hint=suggestion(choice, choices(group)))
    if topic == experiments.GROUP:
        return _experiments()
    if topic in groups():
        return _group(topic, found)
    if topic == SWEEP:
        return "\n".join(["sweep: how a sweep (-m) is run", *_rows(SWEEP, shipped()[PRIMARY]["properties"][SWEEP])])
    return _setting(topic, found)


def _group(group: str, found: Composed) -> str:
    chosen = found.choices.get(group)
    lines = [f"{group}: {GROUPS.get(group, 'choices')}", ""]
    for choice in choices(group):
        lines += _entry(f"{group}={choice}", _sentence(group, choice), 28)
    if group == "trainer":
        # Its other choices are presets, of a few of the same settings.
        return "\n".join([*lines, "", _choice(group, "default")])
    lines += ["", f"The settings of a choice: --help {group}={chosen or choices(group)[0]}"]
    return "\n".join(lines)


def _sentence(group: str, choice: str) -> str:
    """What a choice is: as its file says, else its class."""
    said = [
        _described(str(node[TARGET]), group).get("description", "")
        for _, node in nodes_of(group, choice)
        if TARGET in node
    ]
    return note_of(group, choice) or next(iter(said), "")


def _experiments() -> str:
    lines = ["experiment: a whole configuration, and what is expected of it", ""]
    for name in sorted(experiments.files()):
        lines += _entry(name, _first_sentence(note_of(experiments.GROUP, name)), 28)
    return "\n".join([*lines, "", "shoal train experiment=NAME, or its number: experiment=b2; all: shoal verify"])


def _choice(group: str, choice: str) -> str:
    lines = _wrapped(f"{group}={choice}: {_sentence(group, choice)}", 0)
    for key, node in nodes_of(group, choice):
        if TARGET in node:
            lines += ["", *_rows(key, _described(str(node[TARGET]), group), node)]
        else:
            lines += [f"  {key}.{name}={shown(_raw(value))}" for name, value in node.items() if name != "defaults"]
    return "\n".join(lines)


def _setting(key: str, found: Composed) -> str:
    named = [each for each in leaves(found.config) if each.rpartition(".")[2] == key]
    # A last part of a key, as `lr`: every setting of that name is explained.
    if named and not _schema(key, found):
        return "\n\n".join(_setting(each, found) for each in named)
    schema = _schema(key, found)
    if not schema:
        guess = nearest(key, [*groups(), SWEEP, *leaves(found.config)])
        meant = f"did you mean {guess}? " if guess else ""
        raise UsageError(f"no help on {key}: no such group or setting", hint=f"{meant}groups: {', '.join(groups())}")
    value = OmegaConf.select(found.config, key)
    lines = [f"{key}={shown(_raw(value))}", *_wrapped(schema.get("description", ""), 2)]
    return "\n".join([*lines, *_wrapped(f"Allowed: {_allowed(schema)}" if _allowed(schema) else "", 2)])


def _schema(key: str, found: Composed) -> Mapping[str, Any]:
    """What the schema of its class says of a setting of the configuration."""
    node, _, name = key.rpartition(".")
    holder = OmegaConf.select(found.config, node) if node else None
    if node == SWEEP or not node:
        properties = shipped()[PRIMARY]["properties"]
        return dict((properties[SWEEP]["properties"] if node else properties).get(name, {}))
    target = holder.get(TARGET) if isinstance(holder, DictConfig) else None
    return _described(str(target), node.partition(".")[0])["properties"].get(name, {}) if target else {}


def _described(path: str, group: str) -> Mapping[str, Any]:
    """The schema of a class: from shoal's own file, or else from its constructor, which has to be imported."""
    # From a file, because importing the class would import torch for a page of help.
    if path in shipped():
        return shipped()[path]
    from shoal.build.importing import importing
    from shoal.build.schema import definitions

    with importing():
        try:
            return definitions({group: [path]}, {}, {})[path]
        except ValueError as error:
            raise UsageError(f"{path}: {error}") from error


def _rows(key: str, schema: Mapping[str, Any], node: Mapping[str, Any] | None = None) -> Iterator[str]:
    listed = node or {}
    properties = schema["properties"]
    for name in [
        *(name for name in listed if name in properties),
        *(name for name in properties if name not in listed),
    ]:
        each = properties[name]
        meaning, allowed = each.get("description", ""), _allowed(each)
        if name.startswith("_") or not (meaning or name in listed):
            continue
        value = shown(_raw(listed.get(name, each.get("default", "???"))))
        line = f"  {key}.{name}={value}"
        # Cut, and not wrapped: a long value is a list or a table, of which the beginning says what it is.
        yield line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
        yield from _wrapped(f"{meaning} ({allowed})" if meaning and allowed else meaning or allowed, 6)


def _allowed(schema: Mapping[str, Any]) -> str:
    return str(schema.get("x-allowed", ""))


def _raw(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _some(names: Sequence[str], n: int = 8) -> str:
    return ", ".join(names) if len(names) <= n else f"{', '.join(names[: n - 2])} and {len(names) - n + 2} more"


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].partition("; ")[0].rstrip(".")


def _entry(name: str, meaning: str, indent: int) -> list[str]:
    """A name, and beside it what it means."""
    first = f"  {name}".ljust(indent + 2)
    if len(first) > indent + 2:
        return [f"  {name}", *_wrapped(meaning, indent + 2)]
    lines = _wrapped(meaning, indent + 2) or [first]
    return [f"{first}{lines[0].strip()}".rstrip(), *lines[1:]]


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)
