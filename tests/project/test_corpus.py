"""Pieces of the corpus that need no package: what `make corpus` tells of all of them, and what its page says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from spread import one_of

ROOT = Path(__file__).parents[2]
PIECES = [
    "Lightning, DemoModel",
    "Lightning, LightningLSTM",
    "Lightning, BoringModel with a DataModule",
    "Lightning, BoringModel with a DataModule of unknown length",
    "torch, Adafactor",
    "torch, Adam",
    "torch, ASGD",
    "torch, Rprop",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", one_of(2, PIECES))
def test_a_published_piece_trains_and_stacks_as_the_page_says(
    name: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("corpus_run", ROOT / "corpus" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    corpus = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(corpus)
    monkeypatch.setattr(corpus, "faster", lambda piece: "")
    pieces = {each["name"]: each for each in yaml.safe_load(corpus.PIECES.read_text(encoding="utf-8"))}
    for path, content in ((corpus.TABLE, corpus.samples()), (corpus.TEXT, corpus.text())):
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")

    *found, apart, _ = corpus.row(pieces[name])

    page = (ROOT / "docs" / "corpus.md").read_text(encoding="utf-8")
    said = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
    assert found == [each.strip() for each in said.split("|")[1:5]]
    assert float(apart) < 1e-12
