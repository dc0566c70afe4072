"""Runs and sweeps as plain values, for programs: what `shoal runs --json` and `shoal show --json` print."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from shoal.errors import DamagedError
from shoal.review.entries import Entry, RunEntry, SweepEntry
from shoal.review.settings import read_settings
from shoal.review.values import FIELDS, main_metric
from shoal.rundir import read_intact, verify
from shoal.rundir.json_text import json_text


def known(entry: Entry) -> dict[str, Any]:
    """All that is known of a run or sweep; of a sweep's jobs, how many have which status."""
    # The jobs of a sweep are its runs, which `show --json` lists.
    known = {key: value for key, value in vars(entry.info).items() if key != "jobs"} if entry.info else {}
    if known.get("best"):
        known["best"] = asdict(known["best"])
    kind = "sweep" if isinstance(entry, SweepEntry) else "run"
    # The last three by the entry: it knows of a run whose process is gone.
    row = {"kind": kind, **known, "id": entry.id, "task": entry.task, "status": entry.status}
    if isinstance(entry, SweepEntry):
        row |= {"counts": dict(entry.counts()), "best": FIELDS["best"](entry), "metric": main_metric(entry.runs)}
    return {**row, "reason": entry.reason, "path": str(entry.path)}


def in_full(entry: Entry) -> str:
    """All that `known` says; a run's settings, history and checked digests beside it, or a sweep's runs."""
    if isinstance(entry, SweepEntry):
        whole = {**known(entry), "runs": [known(run) for run in entry.runs]}
    else:
        whole = {**known(entry), "settings": _settings(entry), **_history(entry), "artifacts": _artifacts(entry)}
    return json_text(whole, indent=2, default=str)


def _settings(run: RunEntry) -> dict[str, Any] | None:
    try:
        return dict(read_settings(run.path))
    except DamagedError:
        return None


def _history(run: RunEntry) -> dict[str, Any]:
    """The rows up to the first that is damaged, and what is wrong with that one."""
    history, problem = read_intact(run.dir.history)
    return {"history": history.rows, "history_damage": problem if run.dir.history.exists() else None}


def _artifacts(run: RunEntry) -> dict[str, dict[str, Any]]:
    """Digest and size of each file, and under `check` whether it holds: "ok", or what is wrong."""
    sealed = run.info.artifacts if run.info else {}
    wrong = verify(run.path, sealed)
    return {name: {**seal, "check": wrong.get(name, "ok")} for name, seal in sealed.items()}
