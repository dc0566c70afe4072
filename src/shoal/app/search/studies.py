"""Optuna's studies where they are stored: opened, compared with what is asked for, and begun."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoal.errors import ConfigError, DamagedError, UsageError, first_line
from shoal.rundir import SweepDir
from shoal.rundir.atomic import unwritable

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

KEY = "sweep.storage"
ATTRIBUTE = "shoal"
"""The attribute of a study that keeps what shoal was asked for when the study began."""
GRACE_SECONDS = 3
"""After which the lock of a process that was killed while it wrote the journal is broken; writing takes no time."""
INSTALL = "pip install 'shoal[optuna]'"


def check_installed() -> None:
    """Refuse to go on without Optuna.

    Raises:
        UsageError: how to install it.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("hydra/sweeper=optuna needs Optuna, which is not installed", hint=INSTALL)
    found = version("optuna")
    if int(found.split(".")[0]) < 5:
        raise UsageError(f"hydra/sweeper=optuna needs Optuna 5 or newer; installed is {found}", hint=INSTALL)


@contextmanager
def quietly() -> Iterator[None]:
    """Let Optuna say only what went wrong, and not that some of its samplers may change."""
    from optuna import logging
    from optuna.exceptions import ExperimentalWarning

    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        logging.set_verbosity(before)


def begun(storage: BaseStorage, name: str, asked: Mapping[str, Any], folder: Path | None) -> Study:
    """The study of this name; a new one if there is none, or if none of its trials has ended and others are asked for.

    `asked` is what it is to be: its objectives with their directions, and its space. `folder` is the directory of its
    sweep, where the storage is another place, which others may share.

    Raises:
        UsageError: where it is another sweep's, or was asked for something else.
    """
    import optuna

    if name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        there = study.user_attrs.get(ATTRIBUTE) or {}
        _refuse_anothers(name, there, folder)
        changes = _changes(there, asked)
        if not changes:
            return _marked(study, asked, folder)
        if any(trial.state.is_finished() for trial in study.get_trials(deepcopy=False)):
            hint = "choose another hydra.sweep.dir; only samplers, seeds and the number of trials can change"
            raise UsageError(f"the study {name} is another one: {'; '.join(changes)}", hint=hint)
        optuna.delete_study(study_name=name, storage=storage)
    study = optuna.create_study(study_name=name, storage=storage, directions=[*asked["objectives"].values()])
    return _marked(study, asked, folder)


def copied(url: str | None, name: str, folder: SweepDir, directions: Mapping[str, Any]) -> Study:
    """A copy of the study in memory, or an empty one where there is none: it can be asked without a trace.

    Raises:
        ConfigError, DamagedError: as `opened`.
    """
    import optuna

    memory = optuna.storages.InMemoryStorage()
    kept = _file(url, folder)
    if kept is None or kept.exists():
        with opened(url, folder) as storage:
            if name in optuna.get_all_study_names(storage):
                optuna.copy_study(from_study_name=name, from_storage=storage, to_storage=memory)
                return optuna.load_study(study_name=name, storage=memory)
    return optuna.create_study(study_name=name, storage=memory, directions=[*directions.values()])


@contextmanager
def opened(url: str | None, folder: SweepDir) -> Iterator[BaseStorage]:
    """Where the study is kept: a database, or a journal, which is in the sweep's directory unless another is named.

    Raises:
        ConfigError: where it cannot be opened.
        DamagedError: where a journal cannot be read.
    """
    from optuna.storages import RDBStorage

    if url is None or "://" not in url:
        yield _journal(Path(url) if url else folder.study)
        return
    try:
        storage = RDBStorage(url)
    except Exception as error:  # SQLAlchemy's and its drivers' are of many kinds
        cause = error.__cause__ or error
        problem = f"cannot be opened: {first_line(cause)}"
        raise ConfigError(KEY, url, problem, hint="for example sqlite:///study.db, or null for a journal") from error
    try:
        yield storage
    finally:
        # A connection that nobody closes stays open, of which Python 3.13 warns.
        storage.remove_session()
        storage.engine.dispose()


def _file(url: str | None, folder: SweepDir) -> Path | None:
    """The file that a study is kept in; None for a database on a server."""
    if url is None:
        return folder.study
    scheme, _, path = url.rpartition("://")
    if not scheme:
        return Path(url)
    return Path(path.removeprefix("/")) if scheme.startswith("sqlite") else None


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        lock = JournalFileSymlinkLock(str(path), grace_period=GRACE_SECONDS)
        return JournalStorage(JournalFileBackend(str(path), lock))
    except OSError as error:
        raise unwritable(path, error) from error
    except (ValueError, KeyError) as error:
        raise DamagedError(f"{path} is damaged: it is no journal of Optuna's", hint="choose another storage") from error


def _cut_torn_line(path: Path) -> None:
    """Take away what a process left behind that was killed within a write: the next line would be written onto it."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())


def _marked(study: Study, asked: Mapping[str, Any], folder: Path | None) -> Study:
    wanted = {**asked, "sweep": folder and str(folder.resolve())}
    if study.user_attrs.get(ATTRIBUTE) != wanted:
        study.set_user_attr(ATTRIBUTE, wanted)
    return study


def _refuse_anothers(name: str, there: Mapping[str, Any], folder: Path | None) -> None:
    """Refuse a study in a shared storage that another sweep, which is still there, has begun."""
    place = there.get("sweep")
    if folder and place and Path(place) != folder.resolve() and SweepDir(Path(place)).info.exists():
        hint = f"go on with it: shoal resume {place}; or name another: sweep.study=NAME"
        raise UsageError(f"the study {name} belongs to the sweep {place}", hint=hint)


def _changes(there: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """In what a study differs from the one that is asked for."""
    changes = []
    for kind, wanted in asked.items():
        before = there.get(kind) or {}
        for name in dict.fromkeys([*before, *wanted]):
            if before.get(name) != wanted.get(name):
                changes.append(f"{name}: {before.get(name, 'not there')} -> {wanted.get(name, 'not there')}")
    return changes
