"""The trials of a study in words and tables."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shoal.errors import shown
from shoal.review.wording import cut
from shoal.rundir import StudyInfo, TrialInfo

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

TOP = 5
WORDS = {"COMPLETE": "completed", "FAIL": "failed", "PRUNED": "pruned", "RUNNING": "to be told", "WAITING": "waiting"}
RUNS, REASON, STATUS, AGAIN = "runs", "reason", "status", "again"
"""Notes in a trial: the names of its runs, why it failed, how that run ended, and the trial that it tries again."""


def again(trials: Sequence[FrozenTrial]) -> set[int]:
    """The failed trials that others try again."""
    return {trial.user_attrs[AGAIN] for trial in trials if AGAIN in trial.user_attrs}


def best(study: Study, info: StudyInfo) -> list[TrialInfo]:
    """The best trial as sweep.json has it; of several objectives the Pareto front, by the first of them."""
    return [
        TrialInfo(
            number=trial.number,
            values=dict(zip(info.objectives, trial.values, strict=True)),
            settings=dict(trial.params),
            runs=trial.user_attrs.get(RUNS, []),
        )
        for trial in _front(study, info)
    ]


def table(study: Study, info: StudyInfo) -> str:
    """trials.csv: a row a trial with its state, values, settings and runs, and whether it is among the best."""
    front = {trial.number for trial in _front(study, info)}
    text = io.StringIO()
    columns = ["trial", "state", "best", *info.objectives, *info.over, "runs", "reason"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    trials = study.get_trials(deepcopy=False)
    superseded = again(trials)
    for trial in trials:
        values = list(trial.values or [""] * len(info.objectives))
        settings = [trial.params.get(name, "") for name in info.over]
        notes = [" ".join(trial.user_attrs.get(RUNS, [])), trial.user_attrs.get(REASON, "")]
        writer.writerow(
            [trial.number, _state(trial, superseded), int(trial.number in front), *values, *settings, *notes]
        )
    return text.getvalue()


def batch_in_words(numbers: Sequence[int], study: Study, info: StudyInfo) -> str:
    """What has become of the trials of a batch, and the best so far."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number in numbers]
    front = _front(study, info)
    if not front:
        found = "none has completed"
    elif len(info.objectives) > 1:
        found = f"{len(front)} on the Pareto front"
    else:
        settings = " ".join(f"{name}={shown(value, brief=True)}" for name, value in front[0].params.items())
        found = f"best {next(iter(info.objectives))} {front[0].values[0]:.6g} (trial {front[0].number}: {settings})"
    if not trials:
        return found
    first, last = min(numbers), max(numbers)
    return f"{f'trials {first}-{last}' if last > first else f'trial {first}'}: {_counts(trials)}; {found}"


def conclusion(study: Study, info: StudyInfo) -> list[str]:
    """The best trials of all as a table; of several objectives the Pareto front."""
    trials = study.get_trials(deepcopy=False)
    front = _front(study, info)
    if len(info.objectives) > 1:
        head, told_of, done = f"Pareto front: {len(front)} of {len(trials)} trials", front, front
    else:
        done = [trial for trial in trials if trial.state.name == "COMPLETE"]
        sign = 1 if "minimize" in info.objectives.values() else -1
        told_of = sorted(done, key=lambda trial: (sign * trial.values[0], trial.number))[:TOP]
        head = f"best of {len(trials)} trials"
    if not told_of:
        return [f"{len(trials)} trials: {_counts(trials)}"]
    rows = [["trial", *info.objectives, *info.over, "runs"]]
    for trial in told_of[: 4 * TOP]:
        settings = [shown(trial.params[name], brief=True) for name in info.over]
        rows.append([str(trial.number), *(f"{value:.6g}" for value in trial.values), *settings, _runs(trial)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [f"{head}: {_counts(trials)}", *lines, *(f"  {line}" for line in cut(len(rows) - 1, len(done)))]


def _front(study: Study, info: StudyInfo) -> list[FrozenTrial]:
    found = sorted(study.best_trials, key=lambda trial: (trial.values, trial.number))
    return found if len(info.objectives) > 1 else found[:1]


def _counts(trials: Sequence[FrozenTrial]) -> str:
    superseded = again(trials)
    counts = Counter(_state(trial, superseded) for trial in trials)
    return ", ".join(f"{counts[word]} {word}" for word in dict.fromkeys([*WORDS.values(), *counts]) if counts[word])


def _state(trial: FrozenTrial, superseded: set[int]) -> str:
    if trial.number in superseded:
        return "failed and tried again"
    return str(trial.user_attrs.get(STATUS) or WORDS[trial.state.name])


def _runs(trial: FrozenTrial) -> str:
    runs = trial.user_attrs.get(RUNS, [])
    return " ".join(runs) if len(runs) <= 2 else f"{runs[0]} to {runs[-1]}"
