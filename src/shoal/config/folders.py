"""Where configuration lies: shoal's own, and the user's beside it."""

from __future__ import annotations

from pathlib import Path

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
