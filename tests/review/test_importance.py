"""How much each setting of a sweep mattered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runs import make_sweep
from shoal.cli import run
from shoal.review.catalog import find
from shoal.review.entries import runs
from shoal.review.importance import importance
from shoal.rundir import Best, SweepDir

RATES, WIDTHS, SEEDS = [0.001, 0.01, 0.1], ["[4]", "[8]", "[8,8]"], [0, 1, 2, 3]


def sweep(root: Path, loss: Any) -> SweepDir:
    """A sweep over three settings whose runs came to `loss(place of the rate, of the width, of the seed)`."""
    places = [(a, b, c) for a in range(3) for b in range(3) for c in range(4)]
    each = {number: {"best": Best("val/loss", "min", loss(*at), 1, 26)} for number, at in enumerate(places)}
    return make_sweep(root, {"optimizer.lr": RATES, "model.hidden": WIDTHS, "seed": SEEDS}, each=each)


def test_what_moves_the_metric_most_has_the_greatest_share(tmp_path: Path) -> None:
    sweep(tmp_path, lambda rate, width, seed: 10.0 ** (3 * rate + width + 0.01 * seed))

    found = importance(runs(find([tmp_path])))

    assert found is not None
    assert list(found.shares)[:2] == ["optimizer.lr", "model.hidden"]
    assert found.shares["optimizer.lr"] > 3 * found.shares["model.hidden"]
    assert found.shares["seed"] < 0.05
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.explained > 0.9


def test_where_the_settings_foretell_nothing_that_is_said(tmp_path: Path) -> None:
    sweep(tmp_path, lambda rate, width, seed: float((17 * rate + 5 * width + 29 * seed) % 13))

    found = importance(runs(find([tmp_path])))

    assert found is not None
    assert found.shares == {}
    assert found.told == "the settings foretell nothing of the order of 36 runs"


def test_one_setting_or_few_runs_have_no_importance(tmp_path: Path) -> None:
    make_sweep(tmp_path / "few", {"optimizer.lr": RATES, "seed": SEEDS})
    make_sweep(tmp_path / "one", {"seed": list(range(24))})

    assert importance(runs(find([tmp_path / "few"]))) is None
    assert importance(runs(find([tmp_path / "one"]))) is None


def test_show_prints_it_where_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sweep(tmp_path, lambda rate, width, seed: 10.0**rate + width)

    assert run(["show", str(made.path), "--importance"]) == 0
    said = capsys.readouterr().out
    monkeypatch.setattr("shoal.review.importance.find_spec", lambda name: None)
    without = run(["show", str(made.path), "--importance"])

    assert "how much each setting mattered" in said
    assert "of the order of 36 runs" in said
    assert without == 2
    assert "pip install 'shoal[importance]'" in capsys.readouterr().err
