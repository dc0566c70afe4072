"""Writes reference.md and the schemas, every setting of every choice in conf/, and names the schemas in the YAML files.

`python docs/reference.py` after changing a constructor; tests hold the page and the schemas to what this gives.
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from shoal.app.schema_files import documents, given_lines
from shoal.build.annotations import in_words
from shoal.build.checked_job import SETTINGS
from shoal.build.documented import comments, documented
from shoal.build.hydra_keys import TARGET
from shoal.build.named_constructor import constructor
from shoal.build.trainer import GIVEN_TO_TRAINER, LIMITS
from shoal.config.choices import note
from shoal.config.shipped_schemas import SCHEMAS
from shoal.errors import shown

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
PAGE = ROOT / "docs" / "reference.md"
GROUPS = ("task", "model", "loss", "optimizer", "scheduler", "callbacks", "logger", "workers")
MEANINGS: Mapping[str, Mapping[str, str]] = yaml.safe_load((ROOT / "docs/meanings.yaml").read_text(encoding="utf-8"))
"""Of constructors that document no parameter by themselves."""
INTRODUCTION = """\
# Configuration reference

Every group, its choices and their settings. A choice is a file below `conf/`: `optimizer=sgd` takes
`conf/optimizer/sgd.yaml`, which names a class; the class's constructor says which settings there are and what they
allow. The default is the file's; a task's file may bring another one for the groups beside it, as noted there. A
setting that stands here with a `+` is left to the constructor by the file, and is typed with the `+`.

This page is written from the constructors and files themselves by `docs/reference.py`.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, _top(), *(_group(name) for name in GROUPS), _trainer(), _sweep()]
    return "\n".join(parts)


def _top() -> str:
    notes = comments((CONF / "train.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((CONF / "train.yaml").read_text(encoding="utf-8"))
    rows = [(name, in_words(kind), values.get(name), notes.get(name, "")) for name, kind in SETTINGS.items()]
    return "## Top level\n\n" + _table(rows)


def _sweep() -> str:
    text = (CONF / "train.yaml").read_text(encoding="utf-8")
    notes, values = comments(text), yaml.safe_load(text)["sweep"]
    rows = [(f"sweep.{name}", "", value, notes.get(f"sweep.{name}", "")) for name, value in values.items()]
    return "## `sweep`: how a sweep is run\n\n" + _table(rows, kinds=False)


def _group(group: str) -> str:
    parts = [f"## `{group}`\n"]
    for path in sorted((CONF / group).glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        parts.append(_choice(group, path.stem, text, yaml.safe_load(text) or {}))
    if group == "task":
        lightning = {TARGET: "shoal.tasks.LightningTask"}
        node = _node(group, group, lightning).replace("`+", "`")
        kept = [line for line in node.splitlines() if "batch_size" not in line]
        where = "Its nodes stand in a file of yours: see [extending](extending.md#a-whole-lightningmodule).\n"
        parts += ["### A LightningModule of your own\n", where, *kept, ""]
    return "\n".join(parts)


def _choice(group: str, name: str, text: str, content: Mapping[str, Any]) -> str:
    lines = [f"### `{group}={name}`\n"]
    lines += [f"{note(text)}\n"] if note(text) else []
    nodes = content.get(group, {}) if "@package _global_" in text else content
    if TARGET in nodes:
        lines.append(_node(group, group, nodes))
    for key, node in nodes.items() if TARGET not in nodes else ():
        if isinstance(node, Mapping) and TARGET in node:
            lines.append(_node(group, f"{group}.{key}", node))
        elif key != "defaults":
            lines.append(f"`{group}.{key}={shown(node)}`\n")
    if "@package _global_" in text:
        lines += _brought(content, group)
    return "\n".join(lines)


def _brought(content: Mapping[str, Any], group: str) -> list[str]:
    """What a task brings for other groups."""
    chosen = [item for item in content.get("defaults", []) if isinstance(item, Mapping)]
    words = [f"{key.removeprefix('override /')}={value}" for item in chosen for key, value in item.items()]
    others = {key: value for key, value in content.items() if key not in ("defaults", group)}
    words += [f"{key}.{name}={shown(value)}" for key, node in others.items() for name, value in node.items()]
    return [f"Brings {', '.join(f'`{word}`' for word in words)}.\n"] if words else []


def _node(group: str, key: str, node: Mapping[str, Any]) -> str:
    path = str(node[TARGET])
    rows = [
        (f"{'' if each.listed else '+'}{key}.{each.name}", each.allowed, each.default, each.meaning)
        for each in documented(group, node, MEANINGS.get(path, {}))
    ]
    return f"`{path}`\n\n" + (_table(rows) if rows else "No settings.\n")


def _trainer() -> str:
    text = (CONF / "trainer" / "default.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    notes = {**MEANINGS[values[TARGET]], **comments(text)}
    hints = constructor(values[TARGET]).hints
    rows = []
    for name, value in values.items():
        if name != TARGET:
            kind = in_words(LIMITS[name][0]) if name in LIMITS else _plain(hints.get(name))
            rows.append((f"trainer.{name}", kind, value, notes.get(name, "")))
    presets = []
    for path in sorted((CONF / "trainer").glob("*.yaml")):
        if path.stem != "default":
            content = {key: item for key, item in yaml.safe_load(path.read_text()).items() if key != "defaults"}
            set_ = ", ".join(f"`{key}={shown(item)}`" for key, item in content.items())
            presets.append(f"| `trainer={path.stem}` | {note(path.read_text())} | {set_} |")
    return "\n".join(
        [
            "## `trainer`\n",
            "Every argument of Lightning's "
            "[Trainer](https://lightning.ai/docs/pytorch/stable/common/trainer.html#trainer-flags), under its own "
            f"name, but for those that shoal gives itself: {', '.join(f'`{name}`' for name in GIVEN_TO_TRAINER)}.\n",
            _table(rows),
            "Presets, each of them the defaults with something changed:\n",
            "| choice | for | sets |\n|---|---|---|",
            *presets,
            "",
        ]
    )


def _plain(annotation: Any) -> str:
    """What Lightning's annotation allows, where that can be said in a few words."""
    text = in_words(annotation) if annotation is not None else ""
    return "" if any(word in text for word in ("typing", "timedelta", "Accelerator", "Strategy", "Profiler")) else text


def _table(rows: list[tuple[str, str, Any, str]], *, kinds: bool = True) -> str:
    head = ["setting", "allowed", "default", "meaning"] if kinds else ["setting", "default", "meaning"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, kind, value, meaning in rows:
        cells = [f"`{name}`", *([kind] if kinds else []), f"`{shown(value)}`", meaning]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    for name, text in documents([CONF], MEANINGS).items():
        (SCHEMAS / name).write_text(text, encoding="utf-8")
    runpy.run_path(str(ROOT / "docs" / "api.py"), run_name="__main__")
    list(given_lines(CONF, SCHEMAS))
    list(given_lines(ROOT / "experiments", SCHEMAS, "experiment"))
