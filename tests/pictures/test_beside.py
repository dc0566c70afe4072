"""A picture is the same whichever process draws it, and there is one whatever becomes of the process beside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from checkout import SUPPORT
from shoal.pictures import Band, Chart, Dots, ErrorBars, Level, Line, Panel, beside
from shoal.pictures.rendering import png, rendered

X = [1.0, 2.0, 3.0]
FIT = Panel(
    marks=[
        ErrorBars(x=X, y=[1.0, float("nan"), 2.0], errors=[0.1, 0.1, 0.3], color="#999999", label="data"),
        Band(x=X, low=[0, 1, 2], high=[1, 2, 4], color="#0072B2", opacity=0.3, label="95 %"),
        Line(x=X, y=X, color="#0072B2", style="--", dot="o", label="fit"),
    ],
    title="Fit",
    x="x",
    y="y",
    legend=True,
)
RESIDUALS = Panel(
    marks=[Level(y=0, color="k"), Dots(x=X, y=[1, 10, 100], area=20, color="#D55E00", hollow=True)],
    logarithmic=True,
    few_ticks=True,
)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """The process beside, as it is begun where nobody has imported matplotlib."""
    monkeypatch.delitem(sys.modules, "matplotlib")
    monkeypatch.setattr(beside, "cores", lambda: 2)
    # A copy of this process would have half of matplotlib.
    monkeypatch.setattr(beside, "has_one_thread", lambda: False)
    beside.begin()
    assert isinstance(beside._process, subprocess.Popen)
    yield beside._process
    beside.end()


def chart(title: str = "a run") -> Chart:
    return Chart(title=title, panels=[FIT, RESIDUALS], width=4)


def test_a_picture_is_the_same_whichever_process_draws_it(
    process: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    unusual = chart("\U000107ff has no glyph")

    drawn = beside.drawn(unusual)

    assert process.returncode == 0
    assert "Glyph 67583" in caplog.text
    with pytest.warns(UserWarning, match="Glyph 67583"):
        assert drawn == png(rendered(unusual))


def test_a_picture_is_drawn_here_where_the_process_beside_was_killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()

    assert beside.drawn(chart()) == png(rendered(chart()))


def test_what_is_wrong_with_a_picture_is_told_as_if_it_were_drawn_here(process: subprocess.Popen[bytes]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        beside.drawn(chart("$\\frac$"))

    assert process.returncode == 1


def test_the_process_beside_ends_with_the_one_that_has_begun_it(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None

    process.stdin.close()

    assert process.wait(60) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="copies are made on Linux alone")
def test_a_copy_of_the_process_draws_and_ends_as_one_that_is_started_does() -> None:
    program = str(SUPPORT / "programs" / "copied_beside.py")
    env = os.environ | {"OMP_NUM_THREADS": "1"}

    done = subprocess.run([sys.executable, program], env=env, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout or "{}")

    assert found.get("codes") == [0, 1, -9], done.stderr  # drawn, left by who has begun it, and killed
    assert found["logged"] == 1  # a letter has no glyph
    assert found["alike"]
