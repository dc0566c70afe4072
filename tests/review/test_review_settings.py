"""Reading config.yaml: what PyYAML reads, quickly, and nothing that harms the reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runs import config, make_run
from shoal.errors import DamagedError
from shoal.review.settings import LARGEST, flattened, parse_settings, read_settings

_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)
_leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
_values = st.recursive(_leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3))


@given(st.dictionaries(_names, _values, max_size=4))
def test_whatever_yaml_dumps_is_read_as_yaml_reads_it(content: dict[str, object]) -> None:
    text = yaml.safe_dump(content, sort_keys=False)

    assert parse_settings(text) == dict(flattened(yaml.safe_load(text)))


@pytest.mark.parametrize(
    "text",
    [
        "a: [1,\n2]\nb: 3\n",
        'a: "x\nb: 1"\n',
        "a: |\n  x: 1\n  y: 2\nb: 1\n",
        "a:\n- b: 1\n  c: 2\n- d\ne: {}\n",
        "# note\na: 1\n# note\nb:\n  c: 2\n\n  d: 4\n",
        "a:\n  b: text\n    goes on\nc: 1\n",
        "a:\n  ? x\n  : y\nb: 1",
        "'a b': 1\n\"c\": 2\n",
        "a:\n    b: 1\n    c:\n        d: 2\n",
        "a: &anchor 3\n",
        "a:\n  b: 1\na:\n  c: 2\n",
        "on: 1\nyes:\n  no: 2\n",
        "a: 017\nb: 1e3\nc: 1.0e+3\nd: -0\ne: 1_000\nf: 1:30\ng: 0x1f\nh: -0.5\ni: .5\n",
        "a: |+\n  x\n\nb:\n  c: |\n    y\n\n  d: 2\n",
        "a:\n  b: |\n    x\n      y\n  c: 'x\n\n    y'\n",
        "a:\n  b:\n   c: 2\n   d: 3\n  e:\n  - 1\n",
    ],
)
def test_hand_written_yaml_is_read_as_yaml_reads_it(text: str) -> None:
    assert parse_settings(text) == dict(flattened(yaml.safe_load(text)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 500_000, "nested too deeply"),
        ("- " * 200_000 + "a", "nested too deeply"),
        ("{a: " * 100_000, "nested too deeply"),
        ("a: &x [1]\nb: [*x, *x]\n", "aliases"),
        ("a: &a {k: 1}\nb:\n  <<: [*a, *a]\n", "aliases"),
        ("- 1\n", "not a mapping"),
        ("a: b: c\n", "mapping values are not allowed"),
        ("a: !!python/object/apply:os.system [x]\n", "could not determine a constructor"),
        ("\ta: 1\n", "cannot start any token"),
    ],
)
def test_what_could_exhaust_or_fool_the_reader_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_settings(text)


def test_a_config_larger_than_any_is_damaged(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.config.write_text("a: 1\n" + "#" * LARGEST)

    with pytest.raises(DamagedError, match=r"config\.yaml is damaged: it is longer than"):
        read_settings(run.path)


def test_settings_have_dotted_names_and_lists_are_values(tmp_path: Path) -> None:
    run = make_run(tmp_path, settings={"optimizer.lr": 0.5})

    settings = read_settings(run.path)

    assert settings["optimizer.lr"] == 0.5
    assert settings["model.hidden"] == [32, 32]
    assert settings == dict(flattened(config({"optimizer.lr": 0.5, "seed": 0})))


def test_the_config_of_another_hydra_program_is_read(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("db:\n  user: me\n")

    assert read_settings(tmp_path) == {"db.user": "me"}
