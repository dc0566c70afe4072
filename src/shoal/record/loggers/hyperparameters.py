"""What the HParams tab shows of a run: the settings that set it apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from shoal.names import IMMATERIAL, LR
from shoal.override_words import key_of
from shoal.record.loggers.events import SINGLE
from shoal.rundir import Best, RunInfo

UNRELATED = (*IMMATERIAL, "threads", "expect", "hydra", "logger", "callbacks.progress")
"""Settings that have no part in what a run comes to."""


def hyperparameters(info: RunInfo, config: Mapping[str, Any]) -> dict[str, Any]:
    """In a sweep what differs; alone the seed, and what the command line set of what matters to the result.

    Tags stand beside them, where there are any.
    """
    tags = {"tags": ", ".join(info.tags)} if info.tags else {}
    if info.differs:
        return {**info.differs, **tags}
    # `+key=` and `++key=` add a key; `~key` takes one away, and what is gone has no value to show.
    names = [key_of(word) for word in info.overrides if "=" in word and not word.startswith("~")]
    chosen = {name: _value(config, name, info.choices) for name in names if not _unrelated(name)}
    return {"seed": info.seed, "model": info.choices.get("model", ""), **chosen, **tags}


def _unrelated(name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in UNRELATED) or name.startswith("hydra")


def _value(config: Mapping[str, Any], name: str, choices: Mapping[str, str]) -> Any:
    """The resolved value of a setting, a number where it is one; of a group the choice."""
    if name in choices:
        return choices[name]
    found: Any = config
    for word in name.split("."):
        found = found.get(word) if isinstance(found, Mapping) else None
    return found


def results(final: Mapping[str, float], best: Best | None, curves: Collection[str]) -> dict[str, float | None]:
    """The metrics of a row of the HParams tab by their tags, the one that judges first.

    None says that the value is where the curve of that tag ends. A metric without a curve has a tag of its own, behind
    all curves. The learning rate is left out: it is among the settings.
    """
    first = {f"{SINGLE}best {best.metric}": best.value} if best else {}
    # False sorts before True: the metric that judges leads, and all others keep the order of the columns.
    order = sorted((name for name in final if name != LR), key=lambda name: best is None or name != best.metric)
    return first | {
        name if name in curves else f"{SINGLE}{name}": None if name in curves else final[name] for name in order
    }
