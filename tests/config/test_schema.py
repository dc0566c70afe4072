"""The JSON Schemas: what comes with shoal fits them, what a constructor refuses does not, own classes are in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from omegaconf._utils import get_yaml_loader  # for which 1e-05 is a number, as it is for Hydra and for editors
from referencing import Registry, Resource

from checkout import ROOT
from shoal.cli import run
from shoal.config.shipped_schemas import DEFINITIONS, SCHEMAS

FILES = sorted([*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "experiments").glob("*.yaml")])
LINE = "# yaml-language-server: $schema="
WRONG = {
    "optimizer": "{_target_: shoal.optimizers.Adam, lr: -1}",
    "model": "{_target_: shoal.models.MLP, hidden: [0]}",
    "loss": "{_target_: shoal.losses.Huber, dleta: 1}",
    "trainer": "{_target_: pytorch_lightning.Trainer, max_epoch: 3}",
    "callbacks": "{checkpoint: {every_seconds: often}}",
    "scheduler": "{_target_: shoal.schedulers.Step, gamma: x}",
    "task": "{task: {_target_: shoal.tasks.Parabola, val_fraction: 2}}",
    "experiment": "{expect: [{metrc: x, value: 1}]}",
    "train": "{sweep: {proceses: 3}}",
}


@cache
def validator(file: Path, digest: int) -> Draft7Validator:
    """What checks against the schema in a file, which `digest` tells from what it was before."""
    definitions = json.loads((file.parent / DEFINITIONS).read_text(encoding="utf-8"))
    registry: Registry[Any] = Registry().with_resource(DEFINITIONS, Resource.from_contents(definitions))
    return Draft7Validator(json.loads(file.read_text(encoding="utf-8")), registry=registry)


def problems(content: Any, file: Path) -> list[str]:
    check = validator(file, hash(file.read_bytes()))
    return [f"{'.'.join(map(str, error.path))}: {error.message[:200]}" for error in check.iter_errors(content)]


def named_schema(file: Path) -> Path:
    text = file.read_text(encoding="utf-8")
    assert LINE in text, "run: python docs/reference.py"
    line = next(line for line in text.splitlines() if line.startswith(LINE))
    return (file.parent / line.removeprefix(LINE)).resolve()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_file_that_comes_with_shoal_fits_the_schema_it_names(file: Path) -> None:
    schema = named_schema(file)

    found = problems(yaml.load(file.read_text(encoding="utf-8"), Loader=get_yaml_loader()) or {}, schema)

    assert schema.parent == SCHEMAS
    assert found == []


@pytest.mark.parametrize("kind", WRONG)
def test_a_file_that_a_constructor_would_refuse_does_not_fit(kind: str) -> None:
    assert problems(yaml.safe_load(WRONG[kind]), SCHEMAS / f"{kind}.json")


@pytest.mark.parametrize("file", sorted(SCHEMAS.glob("*.json")), ids=lambda file: file.stem)
def test_each_schema_is_one(file: Path) -> None:
    schema: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))

    Draft7Validator.check_schema(schema)


def test_a_value_may_be_given_later_or_refer_to_another() -> None:
    node = {"_target_": "shoal.optimizers.Adam", "lr": "${task.noise}", "eps": "???"}

    assert problems(node, SCHEMAS / "optimizer.json") == []


def test_the_schemas_of_a_folder_know_the_classes_in_it(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["new", "task", "damper"])
    capsys.readouterr()

    code = run(["schema", "--lines"])

    said = capsys.readouterr().out
    file = Path("conf/task/damper.yaml")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert code == 0
    assert "conf/task/damper.yaml" in said
    assert named_schema(file) == (workdir / "schema" / "task.json").resolve()
    assert problems(content, named_schema(file)) == []
    content["task"]["damping"] = "strong"
    assert problems(content, named_schema(file))
