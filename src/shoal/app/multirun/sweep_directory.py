"""A sweep's directory as a launch finds it: what lies there, and sweep.json with the jobs that are new."""

from __future__ import annotations

import os
import socket
from dataclasses import replace

from shoal.app.multirun.launch_request import Asked
from shoal.config.multirun.job_config import differs, flat
from shoal.errors import UsageError, shown
from shoal.names import IMMATERIAL
from shoal.rundir import JobInfo, Status, SweepInfo, heartbeat, read_config, read_sweep
from shoal.rundir.info import note_of, now, tags_of
from shoal.rundir.layout import job_name


def opened(asked: Asked) -> SweepInfo:
    """sweep.json as a launch begins: the jobs there are, and those that are new.

    Raises:
        UsageError: where another sweep lies in the directory.
    """
    before = read_sweep(asked.folder.info) if asked.folder.info.exists() else None
    # A later batch of the same sweep finds the jobs of the first ones.
    if before and (asked.study or not asked.first):
        _refuse_another(asked, before)
    varies = list(dict.fromkeys([*(before.varies if before else []), *asked.varies]))
    first = next(iter(asked.jobs.values()))
    return SweepInfo(
        id=asked.folder.path.name,
        task=first.choices.get("task", ""),
        status=Status.RUNNING,
        command=list(asked.command),
        overrides=[word for word in asked.command[1:] if "=" in word and not word.startswith("-")],
        tags=tags_of(first.values),
        note=note_of(first.values),
        varies=varies,
        pid=os.getpid(),
        host=socket.gethostname(),
        launches=(before.launches if before else 0) + 1,
        beats=heartbeat.SECONDS,
        started=(before.started if before else None) or now(),
        seconds=before.seconds if before else 0.0,
        jobs=_numbered(asked, before.jobs if before else [], varies),
        study=asked.study,
    )


def _numbered(asked: Asked, before: list[JobInfo], varies: list[str]) -> list[JobInfo]:
    """The jobs of earlier launches, then the new ones of this launch."""
    known = {job.hash: job for job in before}
    # Numbers stay: a directory is called by them.
    number = max((job.number for job in before), default=-1) + 1
    for job in asked.jobs.values():
        own = differs(job, varies)
        if job.hash in known:
            # What varies may have grown by new values.
            known[job.hash] = replace(known[job.hash], differs=own)
        else:
            known[job.hash] = JobInfo(number, job_name(number), job.hash, own, list(job.overrides))
            number += 1
    return list(known.values())


def _refuse_another(asked: Asked, before: SweepInfo) -> None:
    """Refuse jobs that differ from those that lie there in something that neither sweep varies.

    Raises:
        UsageError: the differences.
    """
    # One job in common: it is the same sweep, with values added or left out.
    if any(job.hash in asked.jobs for job in before.jobs):
        return
    # Compared by a configuration that was written; sweep.json has the overrides only.
    begun = next((job for job in before.jobs if asked.folder.run(job).config.exists()), None)
    if begun is None:
        return
    there = flat(read_config(asked.folder.run(begun).config))
    here = [flat(job.values) for job in asked.jobs.values()]
    keys = [
        key
        for key in here[0].keys() | there.keys()
        if key.split(".")[0] not in IMMATERIAL
        and all(each.get(key) == here[0].get(key) for each in here)
        and here[0].get(key) != there.get(key)
        and not any(key == name or key.startswith(f"{name}.") for name in before.varies)
    ]
    if keys:
        changes = "; ".join(f"{key}: {shown(there.get(key))} -> {shown(here[0].get(key))}" for key in sorted(keys)[:4])
        raise UsageError(
            f"{asked.folder.path} holds another sweep: {changes}",
            hint="choose another hydra.sweep.dir; to add values, keep the rest of the command as it was",
        )
