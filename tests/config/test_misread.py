"""Words of a user's YAML that are read otherwise than they look: named with file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra._internal.sources_registry import SourcesRegistry

from commands import trained
from shoal.config import misread as module
from shoal.config.compose import composed
from shoal.config.folders import own_conf, own_experiments
from shoal.config.misread import misread
from shoal.errors import ConfigError, UsageError

WRONG = {
    "-.5": "-.5",
    "+.5": "+.5",
    "-.5e3": "-.5e3",
    ".5e3": ".5e3",
    "010": 8,
    "-010": -8,
    "0o17": "0o17",
    "09": "09",
    "1:30": 90,
    "10:00": 600,
    "1:30:00": 5400,
    "-1:30": -90,
    "1:2.5": 62.5,
    "1_": 1,
    "1__0": 10,
    "2024_01": 202401,
    ".1_5": 0.15,
    "0x_1": 1,
}
MAYBE = {"yes": True, "No": False, "on": True, "OFF": False, "1_000": 1000, "-12_345_678": -12345678, "0b11": 3}
RIGHT = [
    "0",
    "1",
    "-5",
    "+5",
    "007",
    "0.5",
    ".5",
    "1.",
    "1e3",
    "1.e3",
    "-1e-3",
    "12e03",
    "1E+3",
    ".inf",
    "-.inf",
    ".nan",
    "true",
    "False",
    "null",
    "~",
    "text",
    "n",
    "Y",
    "'010'",
    '"yes"',
    "1:60",
    "2024-01-01",
    "0.1.2",
    "1,000",
    "5%",
    "0x1F",
    "inf",
    "nan",
    "1e5.",
    "0_8",
    "_1",
    "tRUE",
]


@pytest.fixture(autouse=True)
def told_anew() -> None:
    module._warn.cache_clear()


@pytest.fixture
def optimizer(workdir: Path) -> Callable[[str], str]:
    """Writes a choice of optimizer with these settings, and gives the override that chooses it."""
    folder = workdir / "conf" / "optimizer"
    folder.mkdir(parents=True)

    def write(settings: str) -> str:
        (folder / "mine.yaml").write_text(f"_target_: shoal.optimizers.SGD\n{settings}\n")
        return "optimizer=mine"

    return write


@pytest.mark.parametrize("word", WRONG)
def test_a_word_that_is_misread_is_found_with_what_it_is_read_as(word: str) -> None:
    (found,) = misread(f"a:\n  b: {word}\n")

    assert (found.key, found.text, found.value, found.line) == ("a.b", word, WRONG[word], 2)
    assert not found.harmless
    assert type(found.value) is type(WRONG[word])


@pytest.mark.parametrize("word", MAYBE)
def test_a_word_that_may_be_meant_as_it_is_read_is_found_as_such(word: str) -> None:
    (found,) = misread(f"a: {word}\n")

    assert (found.value, found.harmless) == (MAYBE[word], True)


@pytest.mark.parametrize("word", RIGHT)
def test_a_word_that_is_read_as_it_looks_is_passed_over(word: str) -> None:
    assert not list(misread(f"a: {word}\nb: [{word.replace(',', '')}]\n"))


def test_a_name_and_an_item_of_a_list_are_never_meant_as_true_or_false() -> None:
    found = list(misread("on: 1\nwords: [no, {yes: 1}]\n"))

    assert [(each.key, each.text, each.is_key, each.harmless) for each in found] == [
        ("on", "on", True, False),
        ("words", "no", False, False),
        ("words.yes", "yes", True, False),
    ]


def own_files() -> Iterator[Path]:
    yield from own_conf().rglob("*.yaml")
    yield from own_experiments().glob("*.yaml")


def test_no_file_of_shoals_own_has_such_a_word() -> None:
    found = {file.name: list(misread(file.read_text())) for file in own_files()}

    assert not {name: words for name, words in found.items() if words}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("lr: -.5", "optimizer.lr=-.5 (conf/optimizer/mine.yaml:2): is read as the text -.5\n  write -0.5, or '-.5'"),
        ("lr: 010", "optimizer.lr=010 (conf/optimizer/mine.yaml:2): is read as 8\n  write 10, or '010' in quotes"),
        ("lr: 1\nmomentum: 1:30", "optimizer.momentum=1:30 (conf/optimizer/mine.yaml:3): is read as 90\n  write 90,"),
        ("on: 1", "conf/optimizer/mine.yaml:2: the name on is read as true\n  in quotes it is a name: 'on'"),
    ],
)
def test_a_setting_in_a_file_that_is_misread_is_refused_where_it_stands(
    settings: str, says: str, optimizer: Callable[[str], str]
) -> None:
    choice = optimizer(settings)

    with pytest.raises((ConfigError, UsageError)) as caught, composed(["task=parabola", choice]):
        pass

    assert says in caught.value.text()
    assert len(caught.value.text().splitlines()) <= 3


def test_a_job_of_a_sweep_names_the_file_of_its_choice(optimizer: Callable[[str], str]) -> None:
    choice = optimizer("lr: 010")

    ended = trained("-m", "task=parabola", f"{choice},sgd")

    assert ended.returncode == 2
    assert "optimizer.lr=010 (job 0, conf/optimizer/mine.yaml:2): is read as 8" in ended.stderr


def test_an_experiment_of_the_users_own_is_looked_at_too(workdir: Path) -> None:
    (workdir / "experiments").mkdir()
    (workdir / "experiments" / "mine.yaml").write_text("# @package _global_\ntrainer:\n  max_epochs: 010\n")

    ended = trained("experiment=mine", "task=parabola")

    assert ended.returncode == 2
    assert "trainer.max_epochs=010 (experiments/mine.yaml:3): is read as 8" in ended.stderr


def test_a_switch_that_is_written_yes_is_told_once_and_taken(
    optimizer: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    choice = optimizer("nesterov: yes\nmomentum: 0.9")

    for _ in range(2):
        with composed(["task=parabola", choice]) as found:
            assert found.values()["optimizer"]["nesterov"] is True

    says = (
        "warning: optimizer.nesterov=yes (conf/optimizer/mine.yaml:2): is read as true; write true, or 'yes' in quotes"
    )
    assert capsys.readouterr().err.count(says) == 1


def test_hydra_reads_files_for_others_as_it_did_before(optimizer: Callable[[str], str]) -> None:
    choice = optimizer("lr: 0.1")
    with composed(["task=parabola"]):
        pass
    before = dict(SourcesRegistry.instance().types)

    with composed(["task=parabola", choice]):
        pass

    assert SourcesRegistry.instance().types == before
