"""The experiments: every row has one, each composes, and those that take no time hold."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from checkout import ROOT, notebooks
from shoal.app.verify import chosen, is_sweep, one
from shoal.build.expectations import Expectation, expectations
from shoal.cli import run as shoal_command
from shoal.cli import train as main
from shoal.config.compose import composed
from shoal.config.experiments import files, named
from shoal.config.folders import own_experiments
from shoal.rundir import SweepDir, read_sweep
from shoal.rundir.log import quiet_logging
from spread import one_of

COUNTS = {"a": 12, "b": 2, "c": 3, "d": 6, "e": 4}
ROWS = [f"{letter}{number}" for letter, n in COUNTS.items() for number in range(1, n + 1)]
OWN = sorted(file.stem for file in own_experiments().glob("*.yaml"))
_ALIKE = {"nist_": "nist_misra1a", "strd_": "strd_filip", "anscombe_": "anscombe_4"}
NOTED = [name for name in OWN if not name.startswith(tuple(_ALIKE)) or name in _ALIKE.values()]
"""One of NIST's sets stands for the others, which tests/fits/test_nist.py fits all at once."""
SLOW = {"d1_log_error", "d2_fit_figure", "lotka_volterra"}
"""A hundred epochs of 2048 samples, a differential equation; `make verify` runs them too."""
NOTEBOOKS = notebooks()


def known() -> Iterator[tuple[str, dict[str, Any], float]]:
    """What the notebooks print: an experiment, what identifies one of its expectations, and the number."""
    row = NOTEBOOKS
    yield "a1", {"metric": "value"}, row["A1"]["f"]
    for name in ("a1", "a2", "a4", "a6"):
        yield name, {"metric": "d/dx"}, row[name.upper()]["derivative"]
    for variable, number in zip("xy", row["A3"]["partials"], strict=True):
        yield "a3", {"metric": f"d/d{variable}"}, number
    for variable in "xy":
        for i, number in enumerate(row["A5"][f"d{variable}"]):
            yield "a5", {"metric": f"d/d{variable}[{i}]"}, number
    for i, number in enumerate(row["A6"]["vector_derivative"]):
        yield "a6_vector", {"metric": f"d/dx[{i}]"}, number
    for variable in "xab":
        yield "a7", {"metric": f"d/d{variable}"}, row["A7"][f"d{variable}"]
    for name, number in zip(("d/dx", "d2/dx^2", "d3/dx^3"), row["A8"]["derivatives"], strict=True):
        yield "a8", {"metric": name}, number
    for step, number in enumerate(row["A9"]["accumulated"], start=1):
        yield "a9", {"metric": "x.grad", "step": step}, number
    yield "a9", {"metric": "x.grad cleared"}, row["A9"]["cleared"]
    for step, name in enumerate(("first", "second"), start=1):
        for i, number in enumerate(row["A10"][name]):
            yield "a10", {"metric": f"x.grad[{i}]", "step": step}, number
    for step, number in row["B1"]["x_after_step"].items():
        yield "b1", {"metric": "x", "step": int(step) + 1}, number
    for step, number in row["B1"]["log10_loss"].items():
        yield "b1", {"metric": "train/loss", "step": int(step) + 1, "log10": True}, number
    yield "b2", {"metric": "x"}, row["B2"]["x_end"]
    for step, numbers in row["C1"]["epochs"].items():
        for name, number in zip(("train/loss", "weight", "bias"), numbers, strict=True):
            yield "c1", {"metric": name, "step": int(step)}, number
    for i, number in enumerate(row["C2"]["weights"], start=1):
        yield "c2", {"metric": f"weight{i}"}, number
    yield "c2", {"metric": "bias"}, row["C2"]["bias"]
    yield "c2", {"metric": "train/loss"}, row["C2"]["loss"]
    for optimizer, number in row["C3"]["final_loss_mean"].items():
        yield "c3", {"metric": "train/loss", "over": "mean", "where": {"optimizer": optimizer}}, number
    yield "c3", {"metric": "train/loss", "over": "std", "where": {"optimizer": "adam"}}, row["C3"]["adam_std"]
    yield "d3", {"metric": "parameters"}, row["D3"]["parameters"]
    for name in ("e1", "e2"):
        for step, number in enumerate(row[name.upper()]["norms"], start=1):
            yield name, {"metric": "grad_norm", "step": step}, number
    for step, number in enumerate(row["E2"]["losses"], start=1):
        yield "e2", {"metric": "train/loss", "step": step}, number


def test_every_row_has_an_experiment() -> None:
    assert [row for row in ROWS if named(row, OWN) is None] == []


@pytest.mark.parametrize("name", NOTED)
def test_an_experiment_is_a_lab_note_that_composes_and_says_its_command(name: str, workdir: Path) -> None:
    text = files()[name].read_text()

    with quiet_logging(), composed([f"experiment={name}"]) as found:
        values = found.values()

    option = "-m " if is_sweep(name) else ""
    assert re.search(rf"^# {name.split('_')[0].upper()}\b", text, flags=re.MULTILINE)
    assert f"#     python train.py {option}experiment={name}\n" in text
    assert expectations(values["expect"]) or values["check"]


@pytest.mark.parametrize("name", OWN)
def test_an_experiment_stands_in_the_index_of_the_page(name: str) -> None:
    assert f"| `{name}` |" in (ROOT / "docs" / "experiments.md").read_text()


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("a1", "a1_product_rule"),
        ("a12", "a12_handwritten_backward"),
        ("a12_wrong", "a12_wrong_backward"),
        ("e1", "e1_exploding_gradients"),
        ("e1_e2", "e1_e2_side_by_side"),
        ("d1_log", "d1_log_error"),
        ("a12_", None),
        ("a", None),
    ],
)
def test_an_experiment_is_meant_by_its_number_or_its_beginning(word: str, name: str | None) -> None:
    assert named(word, OWN) == name


def test_the_experiments_expect_the_numbers_of_the_notebooks() -> None:
    wanted: dict[str, tuple[Expectation, ...]] = {}
    with quiet_logging():
        for name in {name for name, _, _ in known()}:
            with composed([f"experiment={name}"]) as found:
                wanted[name] = expectations(found.values()["expect"])

    for name, settings, number in known():
        (expected,) = (one for one in wanted[name] if all(getattr(one, key) == each for key, each in settings.items()))
        assert float(expected.value or 0) == pytest.approx(number, rel=2e-6, abs=1e-12), (name, settings)


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize("name", one_of(2, [name for name in NOTED if name not in SLOW and not is_sweep(name)]))
def test_an_experiment_measures_what_it_expects(name: str, workdir: Path) -> None:
    verdict = one(name, workdir / "outputs")

    assert verdict.problem is None
    assert [each for each in verdict.outcomes if not each["holds"]] == []
    assert verdict.holds


def test_a_sweep_experiment_is_compared_as_a_whole_and_draws_its_curves(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = shoal_command(["verify", "e1_e2", "--outputs", "outputs", "--processes", "1"])

    (path,) = (file.parent for file in workdir.glob("outputs/samples/*/sweep.json"))
    assert code == 0, capsys.readouterr().out
    assert (path / "figures" / "curves.png").stat().st_size > 5000
    assert [each["holds"] for each in read_sweep(SweepDir(path).info).expected] == [True, True]


def test_a_sweep_of_experiments_holds_each_run_to_what_its_own_expects(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workdir / "conf" / "experiment"
    folder.mkdir(parents=True)
    for epochs in (1, 2):
        wanted = f"expect: [{{metric: epochs, value: {epochs}}}]"
        (folder / f"of_{epochs}.yaml").write_text(f"# @package _global_\ntrainer: {{max_epochs: {epochs}}}\n{wanted}\n")

    code = main(["-m", "experiment=of_1,of_2", "seed=range(2)", "sweep.processes=0", "hydra.sweep.dir=found"])

    found = read_sweep(SweepDir(workdir / "found").info)
    assert code == 0, capsys.readouterr().out
    assert [(each["metric"], each["measured"], each["holds"]) for each in found.expected] == [
        (f"epochs in 2 of 2 runs, {found.jobs[0].run}", 1, True),
        (f"epochs in 2 of 2 runs, {found.jobs[2].run}", 2, True),
    ]


def test_a_sweep_experiment_without_m_is_refused_before_anything_is_written(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["experiment=c3"])

    assert code == 2
    assert capsys.readouterr().err == (
        "error: experiment=c3 is a sweep\n  run it with -m: python train.py -m experiment=c3\n"
    )
    assert not (workdir / "outputs").exists()


def test_the_check_of_devices_says_which_half_was_not_run(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)

    code = shoal_command(["verify", "e4", "--json"])

    (verdict,) = json.loads(capsys.readouterr().out)
    assert code == 0
    assert re.search("note: the GPU half was not run: (this )?PyTorch", verdict["text"])


def test_experiments_are_chosen_by_name_and_pattern_in_the_order_of_rows(workdir: Path) -> None:
    assert [name.split("_")[0] for name in chosen(pattern="a?_*")] == [
        "a1",
        "a2",
        "a3",
        "a4",
        "a5",
        "a6",
        "a6",
        "a7",
        "a8",
        "a9",
    ]
    assert chosen(["c2", "b1"]) == ["c2_two_weights", "b1_root_of_sin_x2"]
    assert [name.split("_")[0] for name in chosen()[9:12]] == ["a9", "a10", "a11"]


PAGES = ROOT / "docs"
COMMANDS = [
    line
    for page in ("experiments.md", "gradcheck.md")
    for block in re.findall(r"```bash\n(.*?)```", (PAGES / page).read_text(), flags=re.DOTALL)
    for line in block.splitlines()
    if "verify --filter" not in line  # every experiment of it is run above
]


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_documentation_ends_well(line: str, workdir: Path) -> None:
    program, *words = shlex.split(line)

    code = shoal_command(words) if program == "shoal" else main(words[1:])

    assert code == 0
