"""The programs of examples/hydra_programs, in styles that people write, leave with shoal what they leave without it."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from foreign import differences, returned
from shoal.dropin import hydra_launch

PROGRAMS = Path(__file__).parents[2] / "examples" / "hydra_programs"
WORDS = {
    "plain": ["seed=range(2)", "epochs=2"],
    "instantiated": ["seed_everything=range(2)", "trainer.max_epochs=2"],
    "zen": ["seed=range(2)", "trainer.max_epochs=2"],
}
HERE = ["hydra/launcher=shoal", "hydra.launcher.processes=0", "hydra.launcher.stacks=always"]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Compute in float64, where only rounding differs."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", WORDS)
def test_a_program_leaves_and_returns_what_it_does_with_hydras_own_launcher(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "zen":
        zen = pytest.importorskip("hydra_zen")
        monkeypatch.setattr(zen, "store", zen.ZenStore(overwrite_ok=True))  # the program runs twice in this process
    notes: list[str] = []
    monkeypatch.setattr(hydra_launch._Listener, "notes", lambda self, job, text: notes.append(text))
    program = partial(runpy.run_path, str(PROGRAMS / f"{name}.py"), run_name="__main__")
    results = []

    for launcher, more in (("shoal", HERE), ("basic", [])):
        found = returned(program, [*WORDS[name], "hydra.sweep.dir=swept", *more], monkeypatch, folder=tmp_path / "now")
        results.append([each.return_value for each in found])
        (tmp_path / "now").rename(tmp_path / launcher)

    assert notes == []
    assert differences(tmp_path / "shoal" / "swept", tmp_path / "basic" / "swept") == []
    assert results[0] == pytest.approx(results[1], rel=1e-5)
