"""`shoal show` of a run, on a page of the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from shoal.errors import DamagedError, shown
from shoal.review.curves import drawn
from shoal.review.entries import RunEntry
from shoal.review.fit_lines import fit_lines
from shoal.review.settings import read_settings
from shoal.review.terminal_page import facts, head, ratio, table
from shoal.review.wording import counted, duration, in_unit, measure, number, of_best_state, printable, size
from shoal.rundir import RunInfo, SweepInfo, verify

_TOP = 5
_SCORES = ("precision", "recall", "f1", "support")


def show_run(screen: Console, run: RunEntry) -> None:
    """Print what is known of a run: result, settings, artifacts with their digests checked, environment, curve."""
    head(screen, run)
    if run.info:
        facts(screen, _course(run.info))
        facts(screen, _result(run.info))
        _assessment(screen, run.info)
        _fit(screen, run.info)
    _settings(screen, run)
    if run.info:
        _artifacts(screen, run, run.info)
        facts(screen, environment(run.info))
    if screen.is_terminal:
        missing = drawn(run, screen)
        if missing and run.info:
            screen.print(f"no curve: {printable(missing)}")


def command(info: RunInfo | SweepInfo) -> str:
    """The command line that makes the run again, word by word as a shell takes it.

    A run of a sweep is made again alone, by what its own job set; the engine must then be named, for the same bits.
    """
    words = info.command
    if isinstance(info, RunInfo) and info.sweep is not None and info.overrides:
        named = any(word.startswith("engine=") for word in info.overrides)
        # Its own overrides, and the engine: another one has other bits.
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
    # What has no group last.
    ordered = sorted(lines.items(), key=lambda line: line[0] == "")
    return [(printable(group or "others"), printable(" ".join(words))) for group, words in ordered]


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
        # What the run was judged by comes first.
        names.insert(0, info.best.metric)
    for name in names:
        text = in_unit(number(info.final[name]), name, info.unit)
        yield printable(name), ", ".join(filter(None, (text, of_best_state(name, info, number))))
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
    # run.json may be written by hand, or damaged: what is no mapping is passed over.
    rows = {"model": assessment.get("metrics"), **_mapping(assessment.get("baselines"))}
    known = {name: metrics for name, metrics in rows.items() if isinstance(metrics, dict) and metrics}
    if known:
        titles = list(dict.fromkeys(title for metrics in known.values() for title in metrics))
        cells = [[_cell(metrics.get(title)) for metrics in known.values()] for title in titles]
        screen.print(f"\non the {printable(str(assessment.get('samples', '')))} samples", style="bold")
        table(screen, "", list(known), dict(zip(titles, cells, strict=True)))
    scores = assessment.get("classes")
    classes = [score for score in scores if isinstance(score, dict)] if isinstance(scores, list) else []
    if classes:
        screen.print()
        columns = {title: [ratio(score.get(title)) for score in classes] for title in _SCORES}
        table(screen, "class", [score.get("name") for score in classes], columns)


def _cell(value: Any) -> str:
    # run.json has a text for what is not a number.
    return measure(float(value)) if isinstance(value, float) or value == "nan" else number(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _settings(screen: Console, run: RunEntry) -> None:
    screen.print("\nsettings", style="bold")
    try:
        facts(screen, groups(read_settings(run.path)))
    except DamagedError as error:
        screen.print(f"  {printable(error.problem)}", style="red")


def _artifacts(screen: Console, run: RunEntry, info: RunInfo) -> None:
    screen.print("\nartifacts", style="bold")
    # Read in full here, and not for a list: gigabytes of checkpoints take their time.
    wrong = verify(run.path, info.artifacts)
    for name, seal in info.artifacts.items():
        screen.print(f"  {size(float(seal.get('bytes', 0))):>9}  {printable(name)}  ", end="")
        screen.print(wrong.get(name, "digest ok"), style="bold red" if name in wrong else "green")
    if not info.artifacts:
        screen.print("  none is recorded" if info.finished else "  recorded when the run ends")
    screen.print()
