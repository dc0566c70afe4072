"""Where Hydra looks for files beside shoal's own: refused where there is nothing, which Hydra only warns of."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hydra._internal.utils import create_config_search_path
from omegaconf import DictConfig

from shoal.config.folders import own_conf, user_conf
from shoal.errors import ConfigError, UsageError, brief

KEY = "hydra.searchpath"
_FILE, _PACKAGE = "file://", "pkg://"


def search_path(config_dir: str | None) -> Any:
    """Shoal's own files, and before them those of `config_dir`; of the user's `conf/` where it is None.

    Raises:
        UsageError: where there is no such folder.
    """
    path = create_config_search_path(str(own_conf()))
    folder = Path(config_dir.removeprefix(_FILE)) if config_dir else user_conf()
    if folder is not None:
        # Hydra warns and goes on with the files that there are, which are not those that were meant.
        if config_dir and not folder.is_dir():
            raise UsageError(f"--config-dir {config_dir}: {_not_there(folder)}", hint=_here())
        # In front: a file of the user's beats one of shoal's of the same name.
        path.prepend(provider="user", path=f"{_FILE}{folder.resolve()}")
    return path


def check_search_path(config: DictConfig) -> None:
    """See that everything on the search path of a configuration is there.

    Raises:
        ConfigError: for the first entry that is not.
    """
    entries = list(config.hydra.searchpath or [])
    for entry in entries:
        kind = _PACKAGE if entry.startswith(_PACKAGE) else _FILE
        place = entry.removeprefix(kind)
        if kind == _PACKAGE:
            problem = _no_package(place.replace("/", "."))
        elif "://" in place or Path(place).is_dir():  # of another kind: Hydra knows it, or has refused it
            continue
        else:
            problem = _not_there(Path(place))
        if problem:
            whole = problem if len(entries) == 1 else f"{entry}: {problem}"
            raise ConfigError(KEY, entries, whole, hint=_here())


def _no_package(name: str) -> str | None:
    """Why a package cannot be found; None where it can."""
    try:
        # It imports the parents of the package, as Hydra does later.
        if importlib.util.find_spec(name) is not None:
            return None
    except ModuleNotFoundError:
        pass
    except Exception as error:  # whatever its parent raises when it is imported
        return f"cannot be imported: {brief(error)}"
    return "no such package, installed or in the working directory"


def _not_there(folder: Path) -> str:
    return "is a file, and a folder is wanted" if folder.exists() else "no such folder"


def _here() -> str:
    return f"the working directory is {Path.cwd()}"
