"""The configurations of a sweep's jobs are Hydra's own, whatever the overrides."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict

from shoal.config.compose import OF_SWEEPS, Composed, composed
from shoal.config.multirun.composition import Composition
from shoal.config.multirun.compositions import Composer
from shoal.config.multirun.job_config import config_yaml, differing, job_config
from shoal.config.multirun.ranges import Interval
from shoal.errors import ShoalError

KEYS = ["seed", "task.seed", "optimizer.lr", "model.hidden", "task.domain", "trainer.max_epochs", "outputs", "expect"]
NEW_KEYS = ["expect.x", "task.extra", "new", "trainer.new.deep", "optimizer.more", "callbacks.lr.extra"]
ATOMS = [
    "1",
    "-2",
    "0.5",
    "1e-3",
    "null",
    "true",
    "abc",
    "''",
    "'a b'",
    '"x,y"',
    "'{brace}'",
    "${seed}",
    "nan",
    "a\\ b",
]
ATOMS += [
    "${task.n_samples}",
    "[]",
    "{}",
    "'it\\'s'",
    "${hydra:job.num}",
    "${oc.env:HOME}",
    "\\${seed}",
    "007",
    "1_000",
]
CHOICES = ["optimizer=sgd", "optimizer=adamw", "task=sin_x2", "task=linear_regression", "task=function", "loss=huber"]
CHOICES += ["scheduler=plateau", "model=affine", "callbacks=quiet", "logger=none", "trainer=deterministic", "~loss"]
CHOICES += ["~scheduler", "model=nowhere", "+model=mlp", "optimizer=[sgd]", "hydra/job_logging=none", "model@other=mlp"]
CHOICES += ["hydra.job.chdir=true", "+hydra.new=1", "experiment=null"]

atoms = st.sampled_from(ATOMS)
keys = st.sampled_from(KEYS + NEW_KEYS)
plain = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"),
        st.dictionaries(st.sampled_from(["a", "b", "seed", "lr"]), inner, max_size=2).map(
            lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs.items()) + "}"
        ),
    ),
    max_leaves=5,
)
settings_ = st.builds(
    lambda sign, key, value: f"{sign}{key}={value}", st.sampled_from(["", "", "+", "++"]), keys, plain
)
deletions = st.builds(lambda key, value: f"~{key}{value}", keys, st.sampled_from(["", "", "=0", "=null"]))
nodes = st.sampled_from(
    ["model={hidden:[3]}", "+task={noise:0.5}", "optimizer={lr:2}", "task.seed=${seed}", "seed=1,2"]
)
overrides = st.lists(st.one_of(settings_, settings_, st.sampled_from(CHOICES), deletions, nodes), max_size=5)


@pytest.fixture(scope="module")
def sweep() -> Iterator[Composed]:
    with composed(["hydra.verbose=false"], mode=RunMode.MULTIRUN) as found:
        yield found


def hydras_own(sweep: Composed, job: Sequence[str], number: int) -> DictConfig | None:
    """What Hydra's launchers compose for a job; None where they refuse."""
    setup_globals()
    try:
        config = sweep.hydra.config_loader.load_sweep_config(sweep.config, list(job))
    except Exception:
        return None
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    HydraConfig.instance().set_config(config)
    return config


def without_hydra(config: DictConfig) -> DictConfig:
    task = config.copy()
    with open_dict(task):
        del task["hydra"]
    return task


def resolved(config: DictConfig) -> Any:
    try:
        found = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except Exception as error:
        return type(error).__name__
    assert isinstance(found, dict)
    return {key: value for key, value in found.items() if key not in OF_SWEEPS}


def told(found: Composition) -> Any:
    try:
        return {key: node.value for key, node in found.of_job.items()}
    except ShoalError as error:
        return type(error.__cause__).__name__


def hold_against_hydra(sweep: Composed, jobs: Sequence[Sequence[str]]) -> None:
    """See that each of the jobs, composed one after the other, is what Hydra composes for it."""
    composer = Composer(sweep.hydra.config_loader, sweep.config)
    known: dict[str, Any] = {}
    for number, job in enumerate(jobs):
        expected = hydras_own(sweep, job, number)
        if expected is None:
            with pytest.raises(ShoalError):
                composer.compose(job, number)
            continue
        own = without_hydra(expected)
        wanted_values, wanted_hydra = resolved(own), OmegaConf.to_yaml(expected.hydra)
        found = composer.compose(job, number)
        assert OmegaConf.to_yaml(found.hydra) == wanted_hydra
        assert str(told(found)) == str(wanted_values)
        if found.config is not None:
            assert str(OmegaConf.to_container(found.config)) == str(OmegaConf.to_container(own))
            assert str(resolved(found.config)) == str(wanted_values)
            assert found.config._get_flag("struct") == expected._get_flag("struct")
        if isinstance(wanted_values, dict):
            assert str({key: node.written for key, node in found.nodes.items()}) == str(OmegaConf.to_container(own))
            assert config_yaml(found, known) == OmegaConf.to_yaml(own)


@given(jobs=st.lists(overrides, min_size=1, max_size=2))
@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes 0.2 s, and shrinking needs hundreds
    suppress_health_check=[HealthCheck.too_slow],
)
@example(jobs=[["seed=3"], ["task.seed=${seed}", "seed=4"], ["task=sin_x2", "task.noise=0"], ["optimizer={lr:2}"]])
@example(jobs=[["~expect", "+expect={a:1}"], ["++expect.x=1", "expect.x=2"], ["+new=1", "new=2", "~new"]])
def test_a_job_has_the_configuration_that_hydra_composes_for_it(sweep: Composed, jobs: list[list[str]]) -> None:
    hold_against_hydra(sweep, jobs)


@given(
    places=st.lists(st.tuples(st.sampled_from(["", "", "", "+", "++"]), keys), min_size=1, max_size=3),
    given_values=st.lists(st.lists(plain, min_size=3, max_size=3), min_size=4, max_size=4),
)
@settings(
    max_examples=2,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@example(
    [("", "seed"), ("", "optimizer.lr")], [["1", "0.1"], ["2", "1"], ["2", "true"], ["nan", "${seed}"], ["3", "null"]]
)
@example(
    [("", "model.hidden"), ("++", "new")], [["[1]", "1"], ["[2,[3]]", "2"], ["[]", "abc"], ["4", "5"], ["[4]", "[5]"]]
)
@example([("", "optimizer"), ("", "optimizer.lr")], [["{beta1:0.1}", str(rate)] for rate in (1, 2, 3)])
@example(
    [("+", "other"), ("", "other.lr"), ("", "optimizer.lr")], [["${optimizer}", "9", str(rate)] for rate in (1, 2, 3)]
)
@example([("+", "more"), ("+", "new"), ("", "seed")], [["${new}", "${seed}", str(seed)] for seed in (1, 2, 3)])
@example([("+", "new"), ("", "seed")], [["${hydra:job.num}", str(seed)] for seed in (1, 2, 3)])
@example([("+", "new"), ("", "model.hidden")], [["${model}", f"[{width}]"] for width in (1, 2, 3)])
@example([("+", "new"), ("", "model.hidden")], [["[${model.hidden}]", f"[{width}]"] for width in (1, 2, 3)])
def test_jobs_that_differ_in_values_alone_are_as_hydra_composes_them(
    sweep: Composed, places: list[tuple[str, str]], given_values: list[list[str]]
) -> None:
    jobs = [[f"{sign}{key}={value}" for (sign, key), value in zip(places, own, strict=False)] for own in given_values]

    hold_against_hydra(sweep, jobs)


def test_values_alone_are_put_into_the_first_jobs_nodes(sweep: Composed, monkeypatch: pytest.MonkeyPatch) -> None:
    composer = Composer(sweep.hydra.config_loader, sweep.config)
    applied = []
    own = ConfigLoaderImpl._apply_overrides_to_config
    monkeypatch.setattr(
        ConfigLoaderImpl, "_apply_overrides_to_config", lambda *args: applied.append(args) or own(*args)
    )
    lines = [["optimizer.lr=0.5", "model.hidden=[3]", f"seed={seed}"] for seed in range(9)]

    found = [composer.compose(job) for job in lines]

    assert len(applied) == 3  # one of them while the choices are composed
    assert [told(each)["task"]["seed"] for each in found] == list(range(9))
    assert found[2].nodes["model"] is found[8].nodes["model"]


def test_a_group_is_composed_from_files_once_for_all_jobs_that_choose_alike(
    sweep: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = sweep.hydra.config_loader
    calls = []
    own = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *args: calls.append(args) or own(*args))
    composer = Composer(loader, sweep.config)

    found = [told(composer.compose([f"optimizer={name}", f"seed={n}"])) for name in ("sgd", "adam") for n in range(9)]

    assert len(calls) == 2
    assert [each["task"]["seed"] for each in found] == [*range(9), *range(9)]


@pytest.mark.parametrize(
    ("jobs", "keys"),
    [
        ([["+new={a:1,b:2}", "new.b=3"], ["+new={a:1,b:2}", "new.b=4"]], ["new.b"]),
        ([["+new={a:{c:1},b:2}", "new.a.c=3"], ["+new={a:{c:1},b:2}", "new.a.c=4"]], ["new.a.c"]),
        ([["+new={a:1,b:2}", "new.b=3"], ["+new={a:2,b:2}", "new.b=3"]], ["new"]),
        ([["optimizer=adam", "optimizer.lr=1"], ["optimizer=sgd", "optimizer.lr=1"]], ["optimizer"]),
    ],
)
def test_jobs_differ_in_a_node_only_by_what_no_other_setting_gives(
    sweep: Composed, jobs: list[list[str]], keys: list[str]
) -> None:
    composer = Composer(sweep.hydra.config_loader, sweep.config)

    found = differing([job_config(composer, job, number, {}) for number, job in enumerate(jobs)])

    assert found == keys


def test_what_cannot_be_composed_is_told_with_the_nearest_name(sweep: Composed) -> None:
    composer = Composer(sweep.hydra.config_loader, sweep.config)

    with pytest.raises(ShoalError, match=r"did you mean lr\?"):
        composer.compose(["optimizer.lrr=1"])


@settings(max_examples=200)
@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.booleans(), st.integers())
def test_a_number_drawn_from_an_interval_lies_in_it_and_has_few_digits(
    low: float, span: float, log: bool, seed: int
) -> None:
    interval = Interval(abs(low) + 1e-6 if log else low, (abs(low) + 1e-6 if log else low) + span, log)
    assume(interval.low < interval.high)

    text = interval.drawn(random.Random(seed))

    found = float(text)
    assert interval.low <= found <= interval.high
    size = min(abs(found), span) if log else span
    at_an_end = found - interval.low < 1e-6 * size or interval.high - found < 1e-6 * size
    assert at_an_end or -int(Decimal(text).as_tuple().exponent) <= max(1, 8 - math.floor(math.log10(size)))


def test_the_numbers_drawn_from_an_interval_differ_however_narrow_it_is() -> None:
    source = random.Random(0)

    for interval in (
        Interval(1.0000001, 1.0000002),
        Interval(1.0000001, 1.0000002, log=True),
        Interval(1e-9, 1e9, True),
    ):
        assert len({interval.drawn(source) for _ in range(100)}) == 100
