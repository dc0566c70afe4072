"""`shoal show`: one run, or one sweep, on a page of the terminal."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from shoal.errors import DamagedError, shown
from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR
from shoal.review.curves import drawn
from shoal.review.entries import RunEntry, SweepEntry
from shoal.review.fit_lines import fit_lines
from shoal.review.listing import default_columns, write_listing
from shoal.review.ranking import Ranking
from shoal.review.settings import read_settings
from shoal.review.spread import HEADS
from shoal.review.terminal_table import status_style
from shoal.review.values import AT_BEST, age, ranking
from shoal.review.wording import ago, chance, counted, cut, duration, number, outcomes, printable, size
from shoal.review.wording import settings as as_text
from shoal.rundir import RunInfo, StudyInfo, SweepInfo, verify

_TOP = 5
_SCORES = ("precision", "recall", "f1", "support")
_INDENT = 13
"""Where the second column begins at least."""


def show_run(screen: Console, run: RunEntry) -> None:
    """Print what is known of a run: result, settings, artifacts with their digests checked, environment, curve."""
    _head(screen, run)
    if run.info:
        _facts(screen, _course(run.info))
        _facts(screen, _result(run.info))
        _assessment(screen, run.info)
        _fit(screen, run.info)
    _settings(screen, run)
    if run.info:
        _artifacts(screen, run, run.info)
        _facts(screen, environment(run.info))
    if screen.is_terminal:
        missing = drawn(run, screen)
        if missing and run.info:
            screen.print(f"no curve: {printable(missing)}")


def show_sweep(screen: Console, sweep: SweepEntry, *, importance: bool = False) -> None:
    """Print a sweep: how many jobs ended how, its best runs, and the runs that did not complete.

    With `importance` also how much each setting mattered, which takes seconds.

    Raises:
        UsageError: where what computes it is missing.
    """
    _head(screen, sweep)
    if sweep.info:
        _facts(screen, [("command", command(sweep.info)), ("took", duration(sweep.info.seconds))])
    counts = outcomes(dict(sweep.counts().most_common()), sweep.n_halved)
    varies = printable(", ".join(map(str, sweep.info.varies))) if sweep.info else ""
    _facts(screen, [("runs", counts), ("over", varies)])
    if sweep.info and sweep.info.study:
        _facts(screen, _search(sweep.info.study))
    found = ranking(sweep.runs, tested=True)
    if found and found.order:
        _best(screen, found)
    if importance:
        _importance(screen, sweep)
    broken = [run for run in sweep.runs if run.status not in ("completed", "running")]
    if broken:
        screen.print(f"\n{counted(len(broken), 'run')} not completed", style="bold")
        write_listing(screen, broken[: 2 * _TOP], ["id", "status", "what"])
    if len(broken) > 2 * _TOP:
        shown_of = cut(2 * _TOP, len(broken))[0]
        screen.print(f"{shown_of}; all of them: shoal runs {sweep.path} --where \"status != 'completed'\"")


def command(info: RunInfo | SweepInfo) -> str:
    """The command line that makes the run again, word by word as a shell takes it.

    A run of a sweep is made again alone, by what its own job set; the engine must then be named, for the same bits.
    """
    words = info.command
    if isinstance(info, RunInfo) and info.sweep is not None and info.overrides:
        named = any(word.startswith("engine=") for word in info.overrides)
        words = [*(words[:1] or ["train.py"]), *info.overrides, *([] if named else [f"engine={info.engine}"])]
    if not words:
        return ""
    program = ["python"] if words[0].endswith(".py") else []
    return printable(shlex.join([*program, *words]))


def environment(info: RunInfo) -> list[tuple[str, str]]:
    """Commit, versions and hardware, each as one text."""
    git = info.git or {}
    commit = str(git.get("commit") or "")[:12]
    if commit:
        commit += ", with changes (patch.diff)" if git.get("dirty") else ", clean"
    hardware = {key: value for key, value in info.hardware.items() if value not in (None, [], "")}
    return [
        ("commit", printable(commit) or "not in a git repository"),
        ("versions", printable(", ".join(f"{name} {version}" for name, version in info.versions.items()))),
        (
            "instructions",
            printable(", ".join(f"{name} {value}" for name, value in info.instructions.items() if name != "processor")),
        ),
        ("hardware", printable(", ".join(f"{name} {shown(value)}" for name, value in hardware.items()))),
    ]


def groups(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The settings of each config group on one line, its class first; those that are null are left out."""
    lines: dict[str, list[str]] = {}
    for name, value in settings.items():
        group, _, key = name.partition(".")
        words = lines.setdefault(group if key else "", [])
        if key == "_target_":
            words.insert(0, str(value).rsplit(".", 1)[-1])
        elif key.endswith("._target_"):
            words.append(f"{key.removesuffix('._target_')}={str(value).rsplit('.', 1)[-1]}")
        elif value is not None:
            words.append(f"{key or name}={shown(value)}")
    ordered = sorted(lines.items(), key=lambda line: line[0] == "")
    return [(printable(group or "others"), printable(" ".join(words))) for group, words in ordered]


def _head(screen: Console, entry: RunEntry | SweepEntry) -> None:
    screen.print(printable(entry.id), style="bold", end="  ")
    screen.print(printable(entry.task), end="  ")
    screen.print(entry.status, style=status_style(entry.status))
    if entry.reason:
        _facts(screen, [("reason", printable(entry.reason))])
    _facts(screen, [("path", printable(str(entry.path)))])
    if entry.summary:
        tags = printable(", ".join(entry.summary.tags))
        _facts(screen, [("tags", tags), ("note", printable(entry.summary.note or ""))])
    if entry.info and entry.info.started:
        _facts(screen, [("started", f"{_time(entry.info.started)}, {ago(age(entry))} ago")])


def _course(info: RunInfo) -> Iterable[tuple[str, str]]:
    took = f"{duration(info.seconds)}, {counted(info.epochs, 'epoch')}, {counted(info.steps, 'step')}"
    if info.sessions > 1:
        took += f", in {info.sessions} sessions"
    yield "took", took
    yield "engine", f"{printable(info.engine)}, seed {info.seed}, {info.trainable:,} of {info.parameters:,} parameters"
    yield "command", command(info)


def _result(info: RunInfo) -> Iterable[tuple[str, str]]:
    names = list(info.final)
    if info.best and info.best.metric in names:
        names.remove(info.best.metric)
        names.insert(0, info.best.metric)
    for name in names:
        text = number(info.final[name])
        if info.best and info.best.metric == name:
            text += f", best {number(info.best.value)} in epoch {info.best.epoch}"
        elif info.at_best.get(name, info.final[name]) != info.final[name] and name not in (
            LR,
            GRAD_NORM,
            GRAD_NORM_CLIPPED,
        ):
            text += f", {number(info.at_best[name])} at best"
        yield printable(name), text
    for check in info.expected:
        yield "expected", printable(", ".join(f"{key} {shown(value)}" for key, value in check.items()))


def _fit(screen: Console, info: RunInfo) -> None:
    """The parameters of a formula with their errors, and how well it fits."""
    if info.fit:
        screen.print("\nfit", style="bold")
        for line in fit_lines(info.fit):
            screen.print(f"  {printable(line)}", highlight=False)


def _assessment(screen: Console, info: RunInfo) -> None:
    """How the best state compares with the simplest models, and how well it finds each class, on the same samples."""
    assessment = info.assessment or {}
    rows = {"model": assessment.get("metrics"), **_mapping(assessment.get("baselines"))}
    known = {name: metrics for name, metrics in rows.items() if isinstance(metrics, dict) and metrics}
    if known:
        titles = list(dict.fromkeys(title for metrics in known.values() for title in metrics))
        cells = [[number(metrics.get(title)) for metrics in known.values()] for title in titles]
        screen.print(f"\non the {printable(str(assessment.get('samples', '')))} samples", style="bold")
        _table(screen, "", list(known), dict(zip(titles, cells, strict=True)))
    scores = assessment.get("classes")
    classes = [score for score in scores if isinstance(score, dict)] if isinstance(scores, list) else []
    if classes:
        screen.print()
        columns = {title: [_ratio(score.get(title)) for score in classes] for title in _SCORES}
        _table(screen, "class", [score.get("name") for score in classes], columns)


def _best(screen: Console, found: Ranking[RunEntry]) -> None:
    """The best settings with mean and spread over their seeds and folds, and the best runs of the first of them."""
    metric = printable(found.yardstick.metric)
    if found.over:
        told = [setting for setting in found.settings if setting.spread.of]
        best = told[: 2 * _TOP]
        cells = [[*setting.spread.cells, str(setting.halved or ""), chance(setting.p)] for setting in best]
        columns = {
            name: each
            for name, each in zip((*HEADS, "halved", "p"), zip(*cells, strict=True), strict=True)
            if any(each)
        }
        screen.print(f"\nsettings by the mean {metric} over {found.over}", style="bold")
        _table(screen, "", [as_text(setting.values, brief=True) or "all runs" for setting in best], columns)
        _lines(screen, [*cut(len(best), len(told)), found.yardstick.note, found.verdict])
    runs = list(found.settings[0].runs if found.over else found.order)
    of = " of the first setting" if len(found.settings) > 1 and found.over else ""
    screen.print(f"\nbest runs{of} by {metric}", style="bold")
    names = default_columns(runs[:_TOP])
    if found.yardstick.losses:  # of which the runs that are listed may have one
        names = [f"{AT_BEST}{found.yardstick.metric}" if name == "best" else name for name in names]
    write_listing(screen, runs[:_TOP], names)
    _lines(screen, cut(min(_TOP, len(runs)), len(runs)))
    if not found.over:
        _lines(screen, [found.yardstick.note, found.verdict])


def _importance(screen: Console, sweep: SweepEntry) -> None:
    """How much each setting mattered."""
    from shoal.review.importance import LEAST, importance

    found = importance(sweep.runs)
    screen.print("\nhow much each setting mattered", style="bold")
    if found is None:
        _lines(screen, [f"that takes two settings that differ, and {LEAST} runs that ended"])
        return
    if found.shares:
        _table(screen, "", list(found.shares), {"share": [_ratio(share) for share in found.shares.values()]})
    _lines(screen, [found.told])


def _lines(screen: Console, lines: Iterable[str | None]) -> None:
    for line in lines:
        if line:
            screen.print(f"  {printable(line)}")


def _table(screen: Console, title: str, names: Sequence[Any], columns: Mapping[str, Sequence[str]]) -> None:
    """Print numbers beside their names, indented as facts are."""
    first = [f"  {title}", *(f"  {printable(str(name))}" for name in names)]
    rest = [[printable(str(column)), *cells] for column, cells in columns.items()]
    widths = [max(map(cell_len, cells)) for cells in (first, *rest)]
    for row in zip(first, *rest, strict=True):
        cells = [
            set_cell_size(row[0], widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        screen.print("  ".join(cells).rstrip())


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _ratio(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else number(value)


def _search(study: StudyInfo) -> Iterable[tuple[str, str]]:
    goals = ", ".join(f"{direction} {name}" for name, direction in study.objectives.items())
    yield "search", printable(f"{study.n_trials} trials by {study.sampler}: {goals}")
    for trial in study.best[:_TOP]:
        values = ", ".join(f"{name} {number(value)}" for name, value in trial.values.items())
        settings = " ".join(f"{name}={shown(value)}" for name, value in trial.settings.items())
        yield "best", printable(f"trial {trial.number}: {values}; {settings}; runs {' '.join(trial.runs)}")
    if len(study.best) > _TOP:
        yield "best", f"and {len(study.best) - _TOP} more of the Pareto front: see trials.csv"


def _settings(screen: Console, run: RunEntry) -> None:
    screen.print("\nsettings", style="bold")
    try:
        _facts(screen, groups(read_settings(run.path)))
    except DamagedError as error:
        screen.print(f"  {printable(error.problem)}", style="red")


def _artifacts(screen: Console, run: RunEntry, info: RunInfo) -> None:
    screen.print("\nartifacts", style="bold")
    wrong = verify(run.path, info.artifacts)
    for name, seal in info.artifacts.items():
        screen.print(f"  {size(float(seal.get('bytes', 0))):>9}  {printable(name)}  ", end="")
        screen.print(wrong.get(name, "digest ok"), style="bold red" if name in wrong else "green")
    if not info.artifacts:
        screen.print("  none is recorded" if info.finished else "  recorded when the run ends")
    screen.print()


def _facts(screen: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Print names and texts in two columns, the texts wrapped."""
    known = [(name, text) for name, text in facts if text]
    indent = max([_INDENT, *(len(name) + 3 for name, _ in known)])
    room = max(20, screen.width - indent) if screen.is_terminal else 10**9
    for name, text in known:
        lines = textwrap.wrap(text, room, break_on_hyphens=False) or [""]
        screen.print(f"  {name:<{indent - 3}} ", style="dim", end="")
        screen.print(f"\n{'':{indent}}".join(lines))


def _time(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return printable(text)
