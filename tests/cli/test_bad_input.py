"""Bad input: what is wrong, where it came from, what is allowed; exit code 2, three lines at most, nothing written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import shoal
from shoal.cli import train as main
from shoal.errors import ConfigError, ShoalError

pytestmark = pytest.mark.usefixtures("unrendered")


SMALL = ("task.n_samples=32", "task.batch_size=null", "trainer.max_epochs=1")

ROWS: list[tuple[str, str, str]] = [
    # what is typed; how the first line goes on after "error: "; what the rest must say
    ("optimizer.lrr=0.1", "optimizer.lrr=0.1 (command line): no such setting", "did you mean lr?"),
    (
        "optimizer._target_=torch.optim.NAdam",
        "optimizer.beta1=0.9 (shoal's conf/",
        "'~optimizer' '+optimizer={_target_:torch.optim.NAdam}'",
    ),
    ("optimzer=adam", "optimzer=adam (command line): no such setting or group", "did you mean optimizer?"),
    ("+modle=mlp", "modle=mlp (command line): no such setting or group", "did you mean model?"),
    ("+modle.x=1", "modle={x:1} (command line): no such setting or group", "did you mean model?"),
    ("loss=mes", "loss=mes (command line): no such loss", "did you mean mse?"),
    ("task=parabla", "task=parabla (command line): no such task", "did you mean parabola? available: csv"),
    ("optimizer=adm", "optimizer=adm (command line): no such optimizer", "did you mean adam? available: adam, adamw"),
    ("trainer.max_epoch=3", "trainer.max_epoch=3 (command line): no such setting", "did you mean max_epochs?"),
    ("+optimizer.foo=1", "optimizer.foo=1 (command line): no such setting", "available: beta1"),
    (
        "model={hidden:[4],width:4}",
        "model={hidden:[4],width:4} (command line): width is not there",
        "+model.width=VALUE",
    ),
    ("optimizer.lr.x=3", "optimizer.lr.x=3 (command line): no such setting", "optimizer.lr is a value"),
    ("optimizer.lr=abc", "optimizer.lr=abc (command line): must be a number greater than 0", "for example"),
    ("optimizer.lr=-1", "optimizer.lr=-1 (command line): must be a number greater than 0", "=0.001"),
    ("optimizer.lr=0", "optimizer.lr=0 (command line): must be a number greater than 0", "=0.001"),
    ("optimizer.lr=nan", "optimizer.lr=nan (command line): must be a number greater than 0", "=0.001"),
    ("optimizer.lr=inf", "optimizer.lr=inf (command line): must be a number greater than 0", "=0.001"),
    ("optimizer.lr=true", "optimizer.lr=true (command line): must be a number greater than 0", "=0.001"),
    ("optimizer.lr=", "optimizer.lr= (command line): must be a number greater than 0", "=0.001"),
    ("optimizer.lr=0.1,0.2", "optimizer.lr=0.1,0.2 (command line): a sweep needs -m", "'optimizer.lr=[0.1,0.2]'"),
    ("seed=range(3)", "seed=range(3) (command line): a sweep needs -m", "seed=VALUE"),
    ("optimizer.lr=[1,", "optimizer.lr=[1, (command line): cannot be read", "quote"),
    ("model.x=--a=2", "model.x=--a=2 (command line): cannot be read", "in a list 'model.x=[\"--a=2\"]'"),
    ("model.x=[--a=2,-b]", "model.x=[--a=2,-b] (command line): cannot be read", 'quotes: \'model.x=["--a=2","-b"]\''),
    ("task.batch_size=0", "task.batch_size=0 (command line): must be an integer of at least 1, auto", "example"),
    ("task.batch_size=-4", "task.batch_size=-4 (command line): must be an integer of at least 1, auto", "example"),
    ("task.batch_size=1.5", "task.batch_size=1.5 (command line): must be an integer of at least 1, auto", "example"),
    ("task.batch_size=9999", "task.batch_size=9999 (command line): is larger than the 1638", "from 1 to 1638"),
    ("trainer.max_epochs=0", "trainer.max_epochs=0 (command line): trains nothing", "at least 1"),
    ("trainer.max_steps=0", "trainer.max_steps=0 (command line): trains nothing", "at least 1"),
    ("trainer.max_epochs=-1", "trainer.max_epochs=-1 (command line): would never end", "max_steps"),
    ("trainer.max_epochs=-2", "trainer.max_epochs=-2 (command line): must be an integer of at least -1", "example"),
    ("trainer.max_epochs=1.5", "trainer.max_epochs=1.5 (command line): must be an integer", "example"),
    ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0 (command line): trains nothing", "null"),
    ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0 (command line): must be", "example"),
    ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1 (command line): must be a number gr", "example"),
    ("trainer.log_every_n_steps=0", "trainer.log_every_n_steps=0 (command line): must be an integer of", "example"),
    ("trainer.val_check_interval=999", "trainer.val_check_interval=999 (command line): is more than the 13", "null"),
    ("trainer.precision=17", "trainer.precision=17 (command line): must be 64, 32, 16", "example"),
    ("trainer.strategy=dpp", "trainer.strategy=dpp (command line): You selected an invalid strategy", ""),
    ("trainer.max_time=soon", "trainer.max_time=soon (command line): ", ""),
    ("+trainer.logger=true", "trainer.logger=true (command line): is set by shoal", "logger groups"),
    ("model.hidden=[0]", "model.hidden=[0] (command line): must be a list of integers of at least 1", "[32,32]"),
    ("model.hidden=[]", "model.hidden=[] (command line): must be a list of integers of at least 1", "[32,32]"),
    ("model.hidden=[-3]", "model.hidden=[-3] (command line): must be a list of integers of at least 1", "[32,32]"),
    ("model.hidden=['a']", "model.hidden=[a] (command line): must be a list of integers of at least 1", "[32,32]"),
    ("model.activation=rellu", "model.activation=rellu (command line): must be relu, leaky_relu", "did you mean relu?"),
    ("threads=0", "threads=0 (command line): must be an integer from 1 to 1024", "threads=1"),
    ("seed=-1", "seed=-1 (command line): must be an integer from 0 to 4294967295", "seed=0"),
    ("seed=1.5", "seed=1.5 (command line): must be an integer from 0 to 4294967295", "seed=0"),
    ("seed=99999999999", "seed=99999999999 (command line): must be an integer from 0 to 4294967295", "seed=0"),
    (
        "callbacks.checkpoint.monitor=val_los",
        "callbacks.checkpoint.monitor=val_los (command line): is never logged",
        "did you mean val/loss? logged are: grad_norm, lr, train/loss, val/loss",
    ),
    ("trainer.accelerator=foo", "trainer.accelerator=foo (command line): no such accelerator", "available: auto, cpu"),
    ("trainer.devices=0", "trainer.devices=0 (command line): must be at least 1 device", "example"),
    ("trainer.devices=999", "trainer.devices=999 (command line): there are", ""),
    ("resume=", "resume= names no run", "for example resume=outputs/"),
    ("~resume", "resume=null (command line): is null already, there is nothing to take away", "leave out ~resume"),
    ("~note", "note=null (command line): is null already", "leave out ~note"),
    ("resume='my run'", "my run is not a run directory: there is no run.json", "there is no my run"),
    ("resume=nowhere", "nowhere is not a run directory: there is no run.json", "there is no nowhere"),
    ("task.val_fraction=1.2", "task.val_fraction=1.2 (command line): must be a number from 0 to below 1", "example"),
    ("task.noise=-1", "task.noise=-1 (command line): must be a number of at least 0", "example"),
    ("task.domain=[1,-1]", "task.domain=[1.0,-1.0] (command line): must rise", "[-1,1]"),
    ("seed=${nope}", "seed=${nope} (command line): there is no nope to refer to", ""),
    ("task.noise=${task.nois}", "task.noise=${task.nois} (command line): there is no task.nois to", ""),
    ("seed=${seed}", "seed=${seed} (command line): refers to itself", ""),
    ("seed=${oc.env:SHOAL_NOT_SET}", "seed=${oc.env:SHOAL_NOT_SET} (command line): Environment variable", ""),
    ("~optimizer", "optimizer=null (command line): must be given", "optimizer=NAME"),
    ("~nothing", "nothing= (command line): no such setting or group", "available"),
    ("optimizer=3", "optimizer=3 (command line): must be the name of a choice", "optimizer=NAME"),
    ("+optimizer.lr=3", "optimizer.lr=3 (command line): is there already", "for example optimizer.lr=3"),
    ("task=[parabola,sin_x2]", "task=[parabola,sin_x2] (command line): a run has one task", "-m"),
    ("parabola", "parabola: must be KEY=VALUE", "did you mean task=parabola?"),
    ("--epochs", "unrecognized arguments: --epochs", "KEY=VALUE"),
    ("hydra.verbose=[[1]]", "hydra.verbose=[[1]] (command line): must be true, false or names of loggers", ""),
    ("hydra.sweeper=3", "hydra.sweeper=3 (command line): must be a node with a _target_", "hydra/sweeper=NAME"),
    ("hydra.launcher=null", "hydra.launcher=null (command line): must be a node with a _target_", "/launcher=NAME"),
    ("hydra.run=3", "hydra.run=3 (command line): is a node of several settings", "hydra.run.NAME=VALUE"),
    ("hydra.job_logging=x", "hydra.job_logging=x (command line): is a node of several settings", "NAME=VALUE"),
    ("hydra.job=null", "hydra.job=null (command line): cannot be null", ""),
    ("hydra.job.chdir=abc", "hydra.job.chdir=abc (command line): must be true or false", ""),
    ("hydra.job.env_copy=3", "hydra.job.env_copy=3 (command line): must be a list", ""),
    ("hydra.mode=3", "hydra.mode=3 (command line): must be one of RUN, MULTIRUN", ""),
    ("hydra.searchpath=3", "hydra.searchpath=3 (command line): must be a list of strings", ""),
    ("hydra=3", "hydra=3 (command line): must be the name of a choice", "hydra=NAME"),
    ("--config-name=no/such", "--config-name no/such: there is no no/such.yaml beside train.yaml", ""),
    ("--config-dir=no/such", "--config-dir no/such: no such folder", "working directory"),
    ("--config-dir=file:///no/such", "--config-dir file:///no/such: no such folder", "working directory"),
    ("--config-dir=pkg://no.such", "--config-dir pkg://no.such: no such folder", "working directory"),
    (f"--config-dir={__file__}", f"--config-dir {__file__}: is a file, and a folder is wanted", "working directory"),
    ("--config-path=nowhere", "--config-path has no effect", "--config-dir FOLDER"),
    ("--experimental-rerun=nowhere", "--experimental-rerun has no effect", "shoal resume RUN"),
    ("--resolve", "--resolve has no effect", "it goes with --cfg"),
    ("hydra.searchpath=[no/such]", "hydra.searchpath=[no/such] (command line): no such folder", "working directory"),
    ("hydra.searchpath=[file:///no/such]", "hydra.searchpath=[file:///no/such] (command line): no such folder", ""),
    (f"hydra.searchpath=[{__file__}]", f"hydra.searchpath=[{__file__}] (command line): is a file, and a", ""),
    ("hydra.searchpath=[.,no/such]", "hydra.searchpath=[.,no/such] (command line): no/such: no such folder", ""),
    ("hydra.searchpath=[pkg://no.such]", "hydra.searchpath=[pkg://no.such] (command line): no such package", ""),
    ("hydra.searchpath=[pkg://shoal.no]", "hydra.searchpath=[pkg://shoal.no] (command line): no such package", ""),
    ("experiment=no/such", "experiment=no/such (command line): no such experiment", "available: a1"),
    ("hydra/sweeper=no/such", "hydra/sweeper=no/such (command line): no such hydra/sweeper", "available: basic"),
    (
        "optimizer._target_=torch.optim.Adamm",
        "optimizer._target_=torch.optim.Adamm (command line): there is no torch.optim.Adamm; did you mean",
        "torch.optim.Adam?",
    ),
    (
        "model._target_=shoal.modles.mlp.MLP",
        "model._target_=shoal.modles.mlp.MLP (command line): there is no shoal.modles; did you mean shoal.models.mlp.",
        "",
    ),
    ("model._target_=no.such.Model", "model._target_=no.such.Model (command line): no module no.such can be", ""),
    ("model._target_=shoal..MLP", "model._target_=shoal..MLP (command line): must name a class, as module.Class", ""),
    ("callbacks.lr._target_=torch.nn.Linear", "callbacks.lr._target_=torch.nn.Linear (command line): is not a", ""),
    ("engine=warp", "engine=warp (command line): must be auto, lightning or vectorized", ""),
    ("debug=maybe", "debug=maybe (command line): must be true or false", "debug=true"),
]

GROUPED: list[tuple[str, str, str]] = [
    (
        "task.val_fraction=0 scheduler=plateau scheduler.monitor=val/loss",
        "scheduler.monitor=val/loss (command line): is never logged: there are no validation samples",
        "train/loss",
    ),
    (
        "task.val_fraction=0 callbacks.checkpoint.monitor=val/loss",
        "callbacks.checkpoint.monitor=val/loss (command line): is never logged: there are no validation samples",
        "use train/loss",
    ),
    ("task=csv", "task.path=??? ({conf}task/csv.yaml): must be given", "for example task.path=VALUE"),
    ("task=csv task.path=a.csv task.target=3", "task.target=3 (command line): must be a text", "'task.target=\"3\"'"),
    ("task=csv task.path=gone.csv task.target=y", "task.path=gone.csv (command line): no such file", "directory"),
    ("task=function task.expression=sin(", "task.expression=sin( (command line): ends where", "sin("),
    ('task=function task.expression="sin(x"', "task.expression=sin(x (command line): '(' is never closed", "^"),
    ("task=function task.expression=sine(x)", "task.expression=sine(x) (command line): ", "sin"),
    ("trainer.accelerator=gpu", "trainer.accelerator=gpu (command line): no GPU here", "auto"),
    ("trainer=gpu", "trainer.accelerator=gpu ({conf}trainer/gpu.yaml): no GPU here", "auto"),
    ("model._target_=torch.nn.Linear", "model.hidden=[32,32] ({conf}model/mlp.yaml): no such setting", "bias"),
]


FROM_PYTHON = [row for row in ROWS if not row[0].startswith("--")][::4]


def told(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of the error that a command line gets, after checking what every error must be."""
    exit_code = main(list(words))
    out, err = capsys.readouterr()
    lines = err.splitlines()

    assert exit_code == 2, err
    assert 1 <= len(lines) <= 3
    assert lines[0].startswith("error: ")
    assert not lines[0].startswith("error: error")
    assert out == ""
    assert not Path("outputs").exists()
    return lines


def conf(text: str) -> str:
    return text.replace("{conf}", "shoal's conf/")


def test_what_is_only_to_be_shown_is_refused_in_the_same_words(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])

    code = main(["--cfg", "job", "trainer=3"])

    assert code == 2
    assert capsys.readouterr().err.startswith("error: trainer=3 (command line): must be the name of a choice\n")


@pytest.mark.parametrize(("typed", "first", "rest"), [*ROWS], ids=[row[0] for row in ROWS])
def test_a_wrong_word_on_the_command_line_is_refused(
    typed: str, first: str, rest: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told([typed], capsys)

    assert lines[0].startswith(f"error: {first}")
    assert rest in "\n".join(lines)


@pytest.mark.parametrize(("typed", "first", "rest"), GROUPED, ids=[row[0] for row in GROUPED])
def test_a_wrong_combination_names_the_file_that_set_its_part(
    typed: str, first: str, rest: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(typed.split(" "), capsys)

    assert lines[0].startswith(f"error: {conf(first)}")
    assert rest in "\n".join(lines)


@pytest.mark.parametrize(("typed", "first", "rest"), FROM_PYTHON, ids=[row[0] for row in FROM_PYTHON])
def test_python_gets_the_same_words_with_its_own_place(typed: str, first: str, rest: str, workdir: Path) -> None:
    with pytest.raises(ShoalError) as raised:
        shoal.train([typed])

    text = str(raised.value)
    assert text.startswith("error: " + first.replace("(command line)", "(shoal.train)"))
    assert rest in text
    assert len(text.splitlines()) <= 3
    assert not Path("outputs").exists()


def yaml_file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("lr: -1", "optimizer.lr=-1 (conf/optimizer/mine.yaml): must be a number greater than 0"),
        ("lr: fast", "optimizer.lr=fast (conf/optimizer/mine.yaml): must be a number greater than 0"),
        ("lr: .nan", "optimizer.lr=nan (conf/optimizer/mine.yaml): must be a number greater than 0"),
        ("lr: .inf", "optimizer.lr=inf (conf/optimizer/mine.yaml): must be a number greater than 0"),
        ("lr: true", "optimizer.lr=true (conf/optimizer/mine.yaml): must be a number greater than 0"),
        ("lr:", "optimizer.lr=null (conf/optimizer/mine.yaml): must be a number greater than 0"),
        ("decay: ???", "optimizer.decay=??? (conf/optimizer/mine.yaml): must be given"),
        ("lr: ${nope}", "optimizer.lr=${nope} (conf/optimizer/mine.yaml): there is no nope to refer to"),
        ("lrr: 1", "optimizer.lrr=1 (conf/optimizer/mine.yaml): no such setting"),
        ("lr: 1\nlr: 2", "conf/optimizer/mine.yaml:4:1: found duplicate key"),
        ("\tlr: 1", "conf/optimizer/mine.yaml:3:1: found character '\\t' that cannot start any token"),
        ("lr: [1", "conf/optimizer/mine.yaml:4:1: "),
        ("lr: ${unclosed", "optimizer=mine (command line): "),
    ],
)
def test_a_wrong_line_in_a_file_of_the_users_is_told_with_the_file(
    text: str, first: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml_file(workdir, "conf/optimizer/mine.yaml", f"defaults: [adam]\n_target_: shoal.optimizers.Adam\n{text}\n")

    lines = told(["optimizer=mine"], capsys)

    assert lines[0].replace(f"{workdir}/", "").startswith(f"error: {first}")


def test_a_file_in_another_folder_is_told_by_its_path(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = yaml_file(
        workdir, "settings/task/mine.yaml", "# @package _global_\ndefaults: [parabola]\ntask: {noise: -1}\n"
    )

    lines = told(["--config-dir", "settings", "task=mine"], capsys)

    assert lines[0].startswith(f"error: task.noise=-1 ({path.relative_to(workdir)}): must be a number of at least 0")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"lr: \xff\xfe", "UTF-8"),
        (b"- 1\n- 2\n", "optimizer"),
        (b"just words", "optimizer"),
        (b"lr: !!python/object/apply:os.system ['touch executed']", "mine.yaml:1:5"),
        (b"lr: " + b"[" * 3000, "mine"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_and_never_executed(
    content: bytes, said: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml_file(workdir, "conf/optimizer/mine.yaml", "").write_bytes(content)

    lines = told(["optimizer=mine"], capsys)

    assert said in "\n".join(lines)
    assert not Path("executed").exists()


def test_an_error_of_a_python_caller_is_an_exception_with_its_parts(workdir: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        shoal.train(["optimizer.lr=-1"])

    assert (raised.value.key, raised.value.value, raised.value.source) == ("optimizer.lr", -1, "shoal.train")


def test_composition_errors_import_no_torch(workdir: Path) -> None:
    program = "import sys; from shoal.cli import train as main; code = main(); sys.exit(100 + ('torch' in sys.modules))"

    for typed in ("optimizer.lrr=0.1", "task=parabla", "optimizer.lr=[1,", "task=csv", "seed=${nope}"):
        ended = subprocess.run([sys.executable, "-c", program, typed], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 100, ended.stderr
        assert ended.stderr.startswith("error: ")


def test_a_plugin_of_someone_elses_that_cannot_be_imported_is_named(workdir: Path) -> None:
    yaml_file(
        workdir, "plugins/hydra_plugins/broken/__init__.py", "import hydra\nhydra.a_function_of_another_version\n"
    )
    command = [sys.executable, "-c", "import sys; from shoal.cli import train as main; sys.exit(main())", "seed=0"]

    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(workdir / "plugins")}
    )

    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) <= 3
    assert "hydra_plugins.broken" in ended.stderr
    assert "a_function_of_another_version" in ended.stderr
