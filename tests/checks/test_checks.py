"""Checks instead of a training: by the command gradcheck, and as a run that is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import shoal
from shoal.cli import run as shoal_command
from shoal.errors import UsageError
from shoal.rundir import Status, read_history

pytestmark = pytest.mark.usefixtures("unrendered")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["sin(x)*x**2", "--at", "1.234", "--order", "2"], 0, "2.081607351"),
        (["x**2*y + x*y**2", "--at", "x=1,y=2"], 0, "d/dy"),
        (["y=a*x**2+b*x+1; z=y**2+2*y", "--at", "x=1,a=2,b=3"], 0, "98"),
        (["exp(-x**2)", "--on", "-3,3"], 0, "100 points of -3,3"),
        (["x**2", "--at", "3", "--derivative", "3*x"], 1, "DISAGREE"),
        (["relu(x)", "--at", "0"], 1, "no derivative"),
        (["task=parabola", "model.hidden=[4]"], 0, "model.0.weight"),
        pytest.param(["experiment=a12_wrong"], 1, "wrong backward in model.1 (Squares)", marks=pytest.mark.long),
    ],
)
def test_gradcheck_compares_and_exits_by_what_it_finds(
    words: list[str], code: int, said: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = shoal_command(["gradcheck", *words])

    assert found == code
    assert said in capsys.readouterr().out
    assert not (workdir / "outputs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sin(x", "--at", "1"], "never closed"),
        (["x**2"], "either a point or an interval"),
        (["task=parabola", "--at", "3"], "--at is for an expression"),
        (["task=parabla"], "did you mean parabola"),
        (["x**2", "y=3", "--at", "1"], "unexpected 'y=3'"),
        (["x**2", "--at", "1", "--tolerance", "0"], "must be greater than 0"),
        (["nothing:here", "--at", "1"], "no module nothing"),
    ],
)
def test_gradcheck_says_what_is_wrong_with_what_it_was_given(
    words: list[str], message: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = shoal_command(["gradcheck", *words])

    assert code == 2
    assert message in capsys.readouterr().err


def test_gradcheck_gives_json(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = shoal_command(["gradcheck", "x**2", "--at", "[1,2]", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [each["autograd"] for each in found["derivatives"]] == [2, 4]


def test_a_check_is_recorded_as_a_run_is(workdir: Path) -> None:
    run = shoal.train(["check=derivatives", "check.at=1.234"])

    assert run.info.task == "derivatives"
    assert run.info.status is Status.COMPLETED
    assert run.info.final["d/dx"] == pytest.approx(2.832561, abs=5e-7)
    assert read_history(run.directory.history).rows[0]["value"] == pytest.approx(1.437205, abs=5e-7)
    assert [each["metric"] for each in run.info.expected] == ["agrees"]
    with pytest.raises(UsageError, match=r"is a check: there is no model in it"):
        shoal.load(run.path)
