"""A piece of the corpus: what `make corpus` tells of all of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

CORPUS = Path(__file__).parents[2] / "corpus"


@pytest.mark.filterwarnings("ignore")
def test_a_published_module_with_its_datamodule_trains_and_stacks_unedited(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("corpus_run", CORPUS / "run.py")
    assert spec is not None
    assert spec.loader is not None
    corpus = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(corpus)
    monkeypatch.setattr(corpus, "faster", lambda piece: "")
    pieces = {each["name"]: each for each in yaml.safe_load(corpus.PIECES.read_text(encoding="utf-8"))}

    name, trains, stacks, reason, apart, _ = corpus.row(pieces["Lightning, DemoModel"])

    assert (name, trains, stacks, reason) == ("Lightning, DemoModel", "yes", "yes", "")
    assert float(apart) < 1e-12
