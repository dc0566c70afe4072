"""A job's configuration composed from what others had: equal to Hydra's own, node by node."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from shoal.dropin.composing import _same, compose_quickly

FILES = {
    "config.yaml": """
defaults: [schema, net: small, optional experiment: null, _self_]
seed: 0
name: "${net.name}-${seed}-${now:%f}"
data: {path: "${oc.env:HOME}", sizes: [1, 2], again: "${.path}"}
missing: ???
""",
    "net/small.yaml": "name: small\nwidth: 1\n",
    "net/large.yaml": "defaults: [small]\nname: large\ndepth: {of: 2}\n",
    "experiment/deep.yaml": "# @package _global_\ndefaults: [{override /net: large}]\nseed: 5\nnet: {width: 7}\n",
}


@dataclass
class Typed:
    """What a schema is made of."""

    rate: float = 0.1
    steps: list[int] = field(default_factory=lambda: [1])


@pytest.fixture
def master(tmp_path: Path) -> Iterator[tuple[ConfigLoaderImpl, Any]]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ConfigStore.instance().store("schema", {"typed": Typed}, provider="test")
    hydra = Hydra.create_main_hydra2("program", create_config_search_path(str(tmp_path)))
    config = hydra.compose_config("config", ["seed=1,2", "hydra.job.chdir=true"], RunMode.MULTIRUN, False)
    assert isinstance(hydra.config_loader, ConfigLoaderImpl)
    assert config.name
    yield hydra.config_loader, config
    GlobalHydra.instance().clear()


@pytest.mark.parametrize(
    "lines",
    [
        ["seed={}"],
        ["seed={}", "net=large", "+experiment=deep", "net.depth.of=3"],
        ["net=large,small", "seed={}"],
        ["+net@other=large", "other.width={}", "typed.rate={}", "typed.steps=[{},2]"],
        ["~data", "+new.of.it={}", "++seed={}", "net={{name:x,width:{}}}"],
        ["~net", "+extra={{a:{{b:{}}},c:[1,'x=y']}}", "missing='${{seed}}'"],
        ["~experiment", "seed={}", "~data.sizes"],
        ["hydra.job.name=job{}"],
        ["+data.deep={{a:null}}", "data.sizes=null", "seed={}"],
    ],
)
def test_a_jobs_configuration_is_hydras_in_every_node(lines: list[str], master: tuple[ConfigLoaderImpl, Any]) -> None:
    loader, config = master
    jobs = [[line.format(number) for line in lines] for number in (3, 4, 5, 3)]
    expected = [_given(loader, config, job) for job in jobs]
    compose_quickly(loader)

    found = [_given(loader, config, job) for job in jobs]

    for mine, theirs in zip(found, expected, strict=True):
        assert mine == theirs if isinstance(theirs, str) else _same(mine, theirs)


def _given(loader: ConfigLoaderImpl, master: DictConfig, job: list[str]) -> DictConfig | str:
    try:
        return loader.load_sweep_config(master_config=master, sweep_overrides=job)
    except HydraException as error:
        return str(error)


def test_files_are_read_twice_for_all_jobs_of_the_same_choices(
    master: tuple[ConfigLoaderImpl, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, config = master
    genuine, asked = loader.load_sweep_config, list[list[str]]()
    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", lambda _, *of: asked.append(of[1]) or genuine(*of))
    compose_quickly(loader)

    for seed in (1, 2, 3, 1):
        for net in ("small", "large"):
            loader.load_sweep_config(config, [f"net={net}", f"seed={seed}"])

    assert asked == [["net=small", "seed=1"], ["net=large", "seed=1"], ["net=small"], ["net=large"]]


@pytest.mark.parametrize("change", ["a value", "a type", "a flag", "an order", "a reference"])
def test_configurations_that_differ_anywhere_are_not_the_same(change: str) -> None:
    one = OmegaConf.create({"a": {"b": [1, "${a.c}"], "c": 2}, "d": Typed})
    other = pickle.loads(pickle.dumps(one))
    assert _same(one, other)

    {
        "a value": lambda: other.a.b.__setitem__(0, 2),
        "a type": lambda: other.a.__setitem__("c", 2.0),
        "a flag": lambda: OmegaConf.set_struct(other.a, True),
        "an order": lambda: other.__setitem__("a", other.pop("a")),
        "a reference": lambda: other.a.b.__setitem__(1, 2),
    }[change]()

    assert not _same(one, other)
