"""One run, from a list of overrides to its directory."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from importlib.metadata import version
from pathlib import Path

import polars
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import shoal
from shoal.loaded.run import Run
from shoal.rundir import Status, read_history, verify

SHORT = ["trainer.max_epochs=3", "task.n_samples=200", "callbacks=quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run of the parabola."""
    outputs = tmp_path_factory.mktemp("outputs")
    return shoal.train([f"outputs={outputs}", *SHORT])


@pytest.fixture(scope="module")
def events(run: Run) -> EventAccumulator:
    """Its event file."""
    accumulator = EventAccumulator(str(run.path))
    accumulator.Reload()
    return accumulator


def test_a_run_directory_holds_everything_there_is_to_know(run: Run) -> None:
    files = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}

    assert {
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
        "config.yaml",
        "run.json",
        "metrics.csv",
        "train.log",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "figures/fit.png",
    } <= files
    assert sum(name.startswith("events.out.tfevents.") for name in files) == 1
    assert not [name for name in files if "partial" in name]


def test_run_json_says_how_the_run_was_made_and_how_it_ended(run: Run) -> None:
    info = run.info

    assert info.status is Status.COMPLETED
    assert (info.task, info.engine, info.seed, info.sessions) == ("parabola", "lightning", 0, 1)
    assert (info.epochs, info.steps, info.parameters, info.trainable) == (3, 6, 1153, 1153)
    assert info.choices["optimizer"] == "adam"
    assert info.overrides == [f"outputs={run.path.parent.parent}", *SHORT]
    assert info.versions["torch"] == version("torch")  # without the "+cu130" that torch itself may add
    assert info.hardware["accelerator"] == "cpu"
    assert info.seconds > 0
    assert info.started is not None
    assert info.ended is not None
    assert info.started < info.ended


def test_every_artifact_has_the_digest_that_run_json_records(run: Run) -> None:
    artifacts = run.info.artifacts

    assert {"config.yaml", "metrics.csv", "checkpoints/last.ckpt", "figures/fit.png"} <= set(artifacts)
    assert verify(run.path, artifacts) == {}


def test_final_and_best_metrics_are_those_of_the_history(run: Run) -> None:
    metrics, info = run.metrics, run.info

    assert info.best is not None
    assert info.best.metric == "val/loss"
    assert info.best.value == metrics["val/loss"].min()
    assert info.final["val/loss"] == metrics["val/loss"][-1]
    assert metrics["step"].to_list() == [2, 4, 6]
    assert metrics["epoch"].to_list() == [0, 1, 2]
    assert metrics["lr"].to_list() == [0.001] * 3
    assert {"train/loss", "val/loss", "lr", "grad_norm"} <= set(metrics.columns)


def test_the_event_file_holds_the_history(run: Run, events: EventAccumulator) -> None:
    history = read_history(run.directory.history)

    for name in ("train/loss", "val/loss", "lr", "grad_norm"):
        points = [(event.step, event.value) for event in events.Scalars(name)]
        rows = [(row["step"], row[name]) for row in history.rows]
        assert [step for step, _ in points] == [step for step, _ in rows]
        assert [value for _, value in points] == pytest.approx([value for _, value in rows], rel=1e-6)


def test_the_event_file_shows_the_configuration_and_the_fit(run: Run, events: EventAccumulator) -> None:
    text = events.Tensors("config")[0].tensor_proto.string_val[0].decode()

    assert text == f"```yaml\n{run.directory.config.read_text()}```"
    assert events.Images("fit")[0].encoded_image_string == run.directory.fit_figure.read_bytes()


def test_the_hparams_tab_has_the_real_final_and_best_metrics(run: Run, events: EventAccumulator) -> None:
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    session = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    content = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment

    assert session.hparams["trainer.max_epochs"].number_value == 3
    assert "hydra.run.dir" not in session.hparams
    assert "outputs" not in session.hparams
    names = [info.name.tag for info in experiment.metric_infos]
    assert names[:2] == ["~hp/best val/loss", "val/loss"]
    assert "lr" not in names
    assert events.Scalars("val/loss")[-1].value == pytest.approx(run.info.final["val/loss"])
    assert events.Scalars(names[0])[0].value == pytest.approx(run.info.best.value if run.info.best else None)
    assert events.Scalars(names[0])[0].step == 6
    assert sorted(events.Tags()["scalars"])[-1].startswith("~hp/")
    assert [tag for tag in names if tag not in events.Tags()["scalars"]] == []


def test_the_configuration_on_disk_is_plain_and_complete(run: Run) -> None:
    config = yaml.safe_load(run.directory.config.read_text())

    assert config == {"schema": 1, **run.config}
    assert config["task"]["seed"] == 0
    assert config["trainer"]["max_epochs"] == 3
    assert "hydra" not in config


def test_the_same_run_twice_has_the_same_weights_and_metrics(run: Run, workdir: Path) -> None:
    again = shoal.train(SHORT)

    assert again.directory.history.read_bytes() == run.directory.history.read_bytes()
    for name, weights in run.model("last").state_dict().items():
        assert torch.equal(weights, again.model("last").state_dict()[name])


def test_data_initialisation_and_order_have_streams_of_their_own(workdir: Path) -> None:
    first = shoal.train([*SHORT, "seed=1", "task.seed=5"]).job
    second = shoal.train([*SHORT, "seed=2", "task.seed=5"]).job

    assert torch.equal(first.data.train.x, second.data.train.x)
    assert not torch.equal(first.module().model[0].weight, second.module().model[0].weight)
    assert not torch.equal(first.batches()[0].order(0), second.batches()[0].order(0))
    assert not torch.equal(first.batches()[0].order(0), first.batches()[0].order(1))


def test_a_loaded_run_predicts_what_the_trained_model_predicts(run: Run) -> None:
    loaded = shoal.load(run.path)
    x = torch.linspace(-1, 1, 5)

    predictions = loaded.predict(x.tolist())

    with torch.no_grad():
        expected = run.model()(x[:, None])[:, 0]
    assert isinstance(predictions, polars.DataFrame)
    assert predictions["y"].to_list() == pytest.approx(expected.tolist(), abs=0)


def test_evaluating_a_run_again_gives_the_metrics_that_were_recorded(run: Run) -> None:
    measured = run.evaluate("last")

    assert measured["val/loss"] == pytest.approx(run.info.final["val/loss"], rel=1e-12)


@pytest.mark.parametrize("kind", ["onnx", "pt2", "safetensors"])
def test_an_exported_model_predicts_the_same(run: Run, kind: str, tmp_path: Path) -> None:
    from shoal.loaded.export import SUFFIXES, export

    exported = export(run, kind, tmp_path / f"model{SUFFIXES[kind]}")

    assert exported.path.stat().st_size > 1000
    assert exported.difference <= 1e-6


def test_a_resume_with_another_learning_rate_uses_it_and_says_so(workdir: Path, capsys: pytest.CaptureFixture) -> None:
    begun = shoal.train([*SHORT, "scheduler=exponential", "scheduler.gamma=0.5"])

    resumed = shoal.train([f"resume={begun.path}", "trainer.max_epochs=5", "optimizer.lr=0.002"])

    assert resumed.metrics["lr"].to_list() == [0.001, 0.0005, 0.00025, 0.00025, 0.000125]
    assert "changed  optimizer.lr: 0.001 -> 0.002" in capsys.readouterr().err
    assert resumed.info.sessions == 2


def test_a_run_may_be_started_from_any_directory_and_lands_below_it(workdir: Path) -> None:
    run = shoal.train(["task=minimize_quadratic", "trainer.max_epochs=3"])

    assert run.path.resolve().parent == workdir / "outputs" / "minimize_quadratic"
    assert json.loads(run.directory.info.read_text())["status"] == "completed"


def test_gradient_norms_are_those_before_and_after_clipping(workdir: Path) -> None:
    run = shoal.train([*SHORT, "trainer.gradient_clip_val=0.01"])

    assert run.metrics["grad_norm"].min() > 0.01
    assert run.metrics["grad_norm_clipped"].to_list() == pytest.approx([0.01] * 3, rel=1e-4)


def test_metrics_of_single_steps_are_logged_when_asked_for(workdir: Path) -> None:
    run = shoal.train([*SHORT, "trainer.log_every_n_steps=1"])
    steps = run.metrics.filter(polars.col("train/loss_step").is_not_null())

    assert steps["step"].to_list() == [1, 2, 3, 4, 5, 6]


def test_linear_regression_follows_plain_gradient_descent(workdir: Path) -> None:
    run = shoal.train(
        ["task=linear_regression", "task.seed=42", "task.val_fraction=0", "model.init=zeros", "optimizer.lr=0.01"]
    )

    torch.manual_seed(42)
    x, noise = torch.randn(100, 1), torch.randn(100, 1)
    y = 2 * x + 1 + 0.1 * noise
    w, b = torch.zeros(1), torch.zeros(1)
    for _ in range(100):
        residual = x * w + b - y
        w, b = w - 0.02 * (residual * x).mean(), b - 0.02 * residual.mean()
    assert run.info.final["weight"] == pytest.approx(float(w), abs=1e-5)
    assert run.info.final["bias"] == pytest.approx(float(b), abs=1e-5)
    assert run.info.best is not None
    assert run.info.best.metric == "train/loss"


def test_the_parabola_is_learned_down_to_its_noise(workdir: Path) -> None:
    run = shoal.train(["task=parabola", "callbacks=quiet", "trainer.max_epochs=60"])

    assert run.info.best is not None
    assert math.isclose(run.info.best.value, 0.03**2, rel_tol=0.25)


def test_a_model_that_ignores_its_input_is_recorded_with_a_slope_of_zero(workdir: Path) -> None:
    run = shoal.train(["task=parabola", "model=scalar", "optimizer.lr=0.1", "trainer.max_epochs=2"])

    assert run.status == "completed"
    assert run.info.final["derivative/rmse"] == pytest.approx(2 / math.sqrt(3), rel=0.05)


class Terminal(io.StringIO):
    """A terminal that keeps what it shows."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
def test_the_bar_on_a_terminal_ends_with_the_losses_of_the_last_epoch(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with contextlib.redirect_stderr(terminal):
        run = shoal.train([*SHORT, f"engine={engine}", "callbacks=default"])

    shown = re.findall(r"(train/loss|val/loss) (\S+)", terminal.getvalue())
    assert dict(shown) == {name: f"{run.info.final[name]:.4g}" for name in ("train/loss", "val/loss")}


def test_a_function_is_learned_and_predicted_alike_in_any_units(workdir: Path) -> None:
    words = ["task=function", "task.domain=[0,3]", "task.n_samples=256", "trainer.max_epochs=3"]
    small = shoal.train([*words, "task.expression='sin(x)'", "task.noise=0.01"])
    large = shoal.train([*words, "task.expression='1e6+1e4*sin(x)'", "task.noise=100", "engine=vectorized"])

    losses = [run.info.final["val/loss"] for run in (small, large)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    predicted = [run.predict([0.5, 2.0])["y"].to_numpy() for run in (small, large)]
    assert predicted[1] == pytest.approx(1e6 + 1e4 * predicted[0], abs=5)
    slopes = [run.info.final["derivative/rmse"] for run in (small, large)]
    assert slopes[1] == pytest.approx(1e4 * slopes[0], rel=1e-2)
    assert 1 < small.info.references["model"] / small.info.references["noise"] < 1e4
    assert small.info.references["noise"] == pytest.approx(0.01**2 / small.job.task.unit**2, rel=0.5)


def test_the_summary_says_how_many_times_the_noise_the_loss_is(workdir: Path) -> None:
    from shoal.app.run_text import run_text

    noisy, clean = (shoal.train(["task=parabola", f"task.noise={noise}", "trainer.max_epochs=2"]) for noise in (1, 0))

    times = noisy.info.references["model"] / noisy.info.references["noise"]
    assert f"the best state has {times:.3g} times that" in run_text(noisy.directory, noisy.info)
    assert "noise floor" not in run_text(clean.directory, clean.info)
