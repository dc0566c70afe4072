"""The experiments: every row has one, each composes, and those that take no time hold."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from shoal.app.command import main
from shoal.app.compose import composed
from shoal.app.expect import expectations
from shoal.app.experiments import files
from shoal.app.location import own_experiments
from shoal.app.verify import chosen, is_sweep, one
from shoal.cli import run as shoal_command
from shoal.rundir import SweepDir, read_sweep
from shoal.rundir.log import quiet_logging

COUNTS = {"a": 12, "b": 2, "c": 3, "d": 6, "e": 4}
ROWS = [f"{letter}{number}" for letter, n in COUNTS.items() for number in range(1, n + 1)]
OWN = sorted(file.stem for file in own_experiments().glob("*.yaml"))
SLOW = {"d1_log", "d2"}
"""A hundred epochs of 2048 samples; `make verify` runs them too."""


def test_every_row_has_an_experiment() -> None:
    assert [row for row in ROWS if row not in OWN] == []


@pytest.mark.parametrize("name", OWN)
def test_an_experiment_is_a_lab_note_that_composes_and_says_its_command(name: str, workdir: Path) -> None:
    text = files()[name].read_text()

    with quiet_logging(), composed([f"experiment={name}"]) as found:
        values = found.values()

    option = "-m " if is_sweep(name) else ""
    assert re.search(rf"^# {name.split('_')[0].upper()}\b", text, flags=re.MULTILINE)
    assert f"#     python train.py {option}experiment={name}\n" in text
    assert expectations(values["expect"]) or values["check"]


@pytest.mark.parametrize("name", [name for name in OWN if name not in SLOW and not is_sweep(name)])
def test_an_experiment_measures_what_it_expects(name: str, workdir: Path) -> None:
    verdict = one(name, workdir / "outputs")

    assert verdict.problem is None
    assert [each for each in verdict.outcomes if not each["holds"]] == []
    assert verdict.holds


def test_a_sweep_experiment_is_compared_as_a_whole_and_draws_its_curves(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = shoal_command(["verify", "e1_e2", "--outputs", "outputs", "--processes", "1"])

    (path,) = (file.parent for file in workdir.glob("outputs/samples/*/sweep.json"))
    assert code == 0, capsys.readouterr().out
    assert (path / "figures" / "curves.png").stat().st_size > 5000
    assert [each["holds"] for each in read_sweep(SweepDir(path).info).expected] == [True, True]


def test_the_check_of_devices_says_which_half_was_not_run(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)

    code = shoal_command(["verify", "e4", "--json"])

    (verdict,) = json.loads(capsys.readouterr().out)
    assert code == 0
    assert "no GPU here, that half was not run" in verdict["text"]


def test_experiments_are_chosen_by_name_and_by_pattern_in_the_order_of_the_rows(workdir: Path) -> None:
    assert chosen(pattern="a?") == ["a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9"]
    assert chosen(["c2", "b1"]) == ["c2", "b1"]
    assert chosen()[9:12] == ["a9", "a10", "a11"]


PAGES = Path(__file__).resolve().parents[1] / "docs"
COMMANDS = [
    line
    for page in ("experiments.md", "gradcheck.md")
    for block in re.findall(r"```bash\n(.*?)```", (PAGES / page).read_text(), flags=re.DOTALL)
    for line in block.splitlines()
    if "verify --filter" not in line  # every experiment of it is run above
]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_documentation_ends_well(line: str, workdir: Path) -> None:
    program, *words = shlex.split(line)

    code = shoal_command(words) if program == "shoal" else main(words[1:])

    assert code == 0
