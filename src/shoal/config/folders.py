"""Where configuration lies: shoal's own, and the user's beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_CHOSEN = re.compile(r"\+?([a-z_]+)=([A-Za-z_][\w-]*)")
"""A word that chooses a file of a group, simply."""
_PACKAGE = Path(__file__).resolve().parent.parent


def own_conf() -> Path:
    """Shoal's own `conf/`: inside the package where it was installed from a wheel, else at the top of the checkout."""
    packaged = _PACKAGE / "conf"
    # A wheel carries it inside the package (see pyproject.toml); a checkout has one copy, which is edited.
    return packaged if packaged.is_dir() else _PACKAGE.parent.parent / "conf"


def own_experiments() -> Path:
    """Shoal's own experiments, beside its `conf/`."""
    return own_conf().parent / "experiments"


def user_experiments() -> Path | None:
    """`experiments/` of the working directory, where it is the user's own."""
    here = Path.cwd() / "experiments"
    return here if here.is_dir() and here.resolve() != own_experiments().resolve() else None


def user_conf() -> Path | None:
    """`conf/` of the working directory, where a user's own tasks and models are found without being named."""
    here = Path.cwd() / "conf"
    # In a checkout of shoal it is shoal's own, which would be on the search path twice.
    return here if here.is_dir() and here.resolve() != own_conf().resolve() else None


def is_missing(overrides: Iterable[str], config_dir: str | None) -> bool:
    """Whether one of these words chooses a file that lies in no folder known here, as `task=parabla`.

    It may still be found on a search path that a file names: that is for Hydra to say.
    """
    beside = Path(config_dir.removeprefix("file://")) if config_dir else user_conf()
    folders = [each for each in (own_conf(), beside) if each is not None]
    chosen = [found.groups() for each in overrides if (found := _CHOSEN.fullmatch(each))]
    return any(
        (own_conf() / group).is_dir()
        and choice != "null"
        and not any((folder / group / f"{choice}.yaml").is_file() for folder in folders)
        for group, choice in chosen
    )
