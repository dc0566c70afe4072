"""What a job returned, as bytes: it has to get from the process that ran it to the one that asked for it."""

from __future__ import annotations

import pickle
import traceback
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from shoal.dropin.hydra_program import HydraJob
from shoal.errors import brief


class FailedError(Exception):
    """Stands for what a job failed of, where that cannot get here."""


class _RemoteError(Exception):
    """The traceback of an error, as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Packed(NamedTuple):
    """The return of a job as it is sent and kept."""

    data: bytes
    notes: tuple[str, ...]
    """What is to be said of it."""


def packed(returned: JobReturn) -> Packed:
    """A job's return as bytes, with notes that say why it failed and what could not be packed."""
    is_failed, value = returned.status is JobStatus.FAILED, returned._return_value
    text, notes = "", list[str]()
    if is_failed:
        text = _told(value)
        notes.append(f"failed: {brief(value)}")
    for name in ("cfg", "hydra_cfg"):
        config = getattr(returned, name)
        if config is not None and _unsendable(config):
            setattr(returned, name, _untyped(config))
    error = _unsendable(value)
    if error and is_failed:
        returned.return_value = FailedError(brief(value))
    elif error:
        returned.return_value = None
        notes.append(f"what it returns cannot be sent ({brief(error)}); None stands for it")
    return Packed(pickle.dumps((returned, text)), tuple(notes))


def _unsendable(value: Any) -> Exception | None:
    """Why a value does not get to another process, or None."""
    try:
        # Both ways: some values can be written and not be read again.
        pickle.loads(pickle.dumps(value))
    except Exception as error:  # whatever a value of anybody's does when it is pickled
        return error
    return None


def _untyped(config: DictConfig) -> DictConfig:
    """The same configuration without the classes of its nodes, of which some are made while a program runs."""
    found = OmegaConf.create(OmegaConf.to_container(config))
    assert isinstance(found, DictConfig)
    # It holds what `${now:}` was resolved to, which must not become another time.
    OmegaConf.copy_cache(config, found)
    OmegaConf.set_struct(found, OmegaConf.is_struct(config))
    return found


def unpacked(data: bytes) -> JobReturn:
    """The return that was packed; an error has the traceback that it had as its cause."""
    returned: JobReturn
    returned, text = pickle.loads(data)
    if text:
        returned._return_value.__cause__ = _RemoteError(text)
    return returned


def failed(job: HydraJob, error: BaseException) -> JobReturn:
    """The return of a job that ended otherwise than by its function's end."""
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return JobReturn(overrides=list(job.overrides), status=JobStatus.COMPLETED)
    if not isinstance(error, Exception):
        error = FailedError(brief(error)).with_traceback(error.__traceback__)
    return JobReturn(overrides=list(job.overrides), status=JobStatus.FAILED, _return_value=error)


def _told(error: Any) -> str:
    return "".join(traceback.format_exception(error)) if error.__traceback__ else ""
