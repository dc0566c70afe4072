"""The tree as a project: workflows, containers and the citation say what the package says; Windows is told of."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from checkout import ROOT
from shoal import cli

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
YAML = [".pre-commit-config.yaml", "CITATION.cff"]
YAML += [str(file.relative_to(ROOT)) for file in sorted((ROOT / ".github").rglob("*.yml"))]


@pytest.mark.parametrize("name", YAML)
def test_each_file_for_a_service_is_yaml_with_content(name: str) -> None:
    assert yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_workflow_tests_every_python_named_and_runs_what_ci_runs() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))["jobs"]["tests"]
    tested = job["strategy"]["matrix"]["python"]

    named = [found[1] for each in PROJECT["classifiers"] if (found := re.search(r"Python :: (3\.\d+)$", each))]
    assert tested == named
    assert tested[0] == PROJECT["requires-python"].removeprefix(">=")
    assert job["steps"][-1]["run"] == ".ci/run"


def test_the_citation_is_of_the_version_that_is_built() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

    assert (citation["title"], citation["version"]) == (PROJECT["name"], PROJECT["version"])
    assert citation["license"] == PROJECT["license"]


def test_the_dev_container_makes_what_a_developer_needs() -> None:
    content = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))

    target = content["postCreateCommand"].removeprefix("make ")
    assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_image_copies_only_what_git_knows_and_starts_the_command() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    assert {".venv", "outputs", ".git"} <= {*ignored}
    assert 'ENTRYPOINT ["shoal"]' in text
    assert "-c /src/requirements.lock" in text


def test_on_windows_one_sentence_says_that_it_does_not_run_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    code = cli.run(["train", "task=parabola"])

    assert code == 2
    assert capsys.readouterr().err == f"error: {cli.NOT_ON_WINDOWS}\n"
