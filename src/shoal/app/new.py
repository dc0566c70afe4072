"""Starting points for code of the user's own: a Python file, its configuration and its tests, which pass."""

from __future__ import annotations

import importlib.util
import keyword
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from shoal.config.folders import own_conf
from shoal.errors import UsageError, suggestion

Kind = Literal["task", "model", "optimizer", "loss", "module"]
TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".j2"


@dataclass(frozen=True)
class Started:
    """What was written, and the command that tries it."""

    files: tuple[Path, ...]
    command: str


def start_piece(kind: str, name: str, folder: Path) -> Started:
    """Write a working example of a task, model, optimizer, loss or LightningModule called `name` into `folder`.

    Raises:
        UsageError: where there is no such kind, the name cannot be, or a file would be overwritten.
    """
    # Typer is not given the kinds: its message would not name the nearest.
    if kind not in get_args(Kind):
        raise UsageError(f"nothing to start with for {kind!r}", hint=suggestion(kind, get_args(Kind)))
    group = "task" if kind == "module" else kind
    _check_name(name, group, folder)
    places = {
        f"NAME.py{SUFFIX}": folder / f"{name}.py",
        f"NAME.yaml{SUFFIX}": folder / "conf" / group / f"{name}.yaml",
        f"test_NAME.py{SUFFIX}": folder / f"test_{name}.py",
    }
    # All are looked at before one is written.
    for path in places.values():
        if path.exists():
            raise UsageError(f"{path} is there already, and is not overwritten", hint="choose another name")
    for template, path in places.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(TEMPLATES / kind / template, name), encoding="utf-8")
    task = f"task={name}" if group == "task" else f"task=parabola {group}={name}"
    return Started(tuple(places.values()), f"shoal train {task}")


def _check_name(name: str, group: str, folder: Path) -> None:
    # Small letters: a file system may know no others, and the class is the name in camel case.
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower() or name.startswith("_"):
        raise UsageError(
            f"{name!r} cannot be the name of a Python file", hint="small letters, digits and _; for example spring"
        )
    if (own_conf() / group / f"{name}.yaml").exists():
        raise UsageError(f"shoal has a {group} {name} already", hint=f"choose another name: my_{name}")
    # Not where the module would be that file, which is refused as one that is not overwritten.
    found = None if (folder / f"{name}.py").exists() else importlib.util.find_spec(name)
    if found is not None:
        raise UsageError(f"there is a module {name} already ({found.origin})", hint=f"choose another name: my_{name}")


def _filled(template: Path, name: str) -> str:
    from jinja2 import Environment, StrictUndefined

    words = "".join(word.capitalize() for word in name.split("_"))
    # A template with a misspelled word is an error, and not an empty place.
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template.read_text(encoding="utf-8")).render(name=name, Name=words)
