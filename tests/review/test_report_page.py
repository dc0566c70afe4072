"""The report as a document: complete, self-contained, and safe whatever the names in it are."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from checkout import ROOT
from runs import curve, make_run, make_sweep, png
from shoal.fits.fit import Fit, Parameter
from shoal.review.catalog import find
from shoal.review.entries import Entry
from shoal.review.report import render, write_report
from shoal.review.report.gather import gather
from shoal.rundir import Status

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028{{'kQ'*7}}"


class Page(HTMLParser):
    """The elements and texts of a page, as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def pages(entries: list[Entry]) -> tuple[str, Page]:
    html = render(entries, title="a study")
    return html, Page(html)


def data(page: Page) -> dict[str, Any]:
    return json.loads(page.scripts[0])


def lines(page: Page) -> dict[str, Any]:
    return json.loads(gzip.decompress(base64.b64decode(page.scripts[1])))


@pytest.fixture
def sweep(tmp_path: Path) -> list[Entry]:
    grid = {"optimizer.lr": [0.001, 0.01, 0.1], "model.hidden": [[16], [32, 32]], "seed": [0, 1, 2]}
    make_sweep(tmp_path, grid, diverged=[15], failed=[4], pending=[17])
    return find([tmp_path])


def test_the_page_fetches_nothing(sweep: list[Entry]) -> None:
    html, page = pages(sweep)

    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert all(link and link.startswith(("data:", "#")) for link in links)
    assert str(policy).startswith("default-src 'none'")
    assert "url(" not in style
    assert "@import" not in style


def test_the_plotting_library_is_a_small_build_with_its_license(sweep: list[Entry]) -> None:
    folder = files("shoal.review.report") / "plotly"
    packed = (folder / "plotly-cartesian.min.js.gz").read_bytes()
    banner = gzip.decompress(packed)[:400].decode()
    pinned = re.search(r"^PLOTLY \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    html, _ = pages(sweep)

    assert len(packed) < 600_000
    assert pinned
    assert f"plotly.js (cartesian - minified) v{pinned[1]}\n" in banner
    assert "Licensed under the MIT license" in banner
    assert (folder / "LICENSE").read_text().startswith("MIT License")
    assert base64.b64encode(packed).decode() in html


def test_every_run_is_on_the_leaderboard_the_best_first(sweep: list[Entry]) -> None:
    _, page = pages(sweep)

    rows = data(page)["rows"]
    losses = [row[4] for row in rows if row[2]]
    assert len(rows) == 17
    assert [row[2] for row in rows[:15]] == list(range(1, 16))
    assert losses == sorted(losses)
    assert {row[1] for row in rows[15:]} == {"failed", "diverged"}
    assert sum(tag == "tr" and "data-row" in attributes for tag, attributes in page.tags) == 17
    assert "1 pending" in page.text


def test_failures_commands_and_environment_are_on_the_page(sweep: list[Entry]) -> None:
    _, page = pages(sweep)

    assert "ValueError: the task drew no samples" in page.text
    assert "train/loss is nan at step 39" in page.text
    assert "python train.py -m task=parabola" in page.text
    assert "python train.py task=parabola optimizer.lr=0.001 seed=0 'model.hidden=[16]'" in page.text
    assert "4bebb5b" in page.text
    assert "torch 2.13.0" in page.text


def test_settings_are_known_as_numbers_seeds_and_scales(sweep: list[Entry]) -> None:
    found = gather(sweep, title="").settings

    assert [(s.name, s.numeric, s.logarithmic, s.repeats) for s in found] == [
        ("optimizer.lr", True, True, False),
        ("model.hidden", False, False, False),
        ("seed", True, False, True),
    ]


def test_curves_are_grouped_over_seeds_with_mean_and_spread(sweep: list[Entry]) -> None:
    _, page = pages(sweep)

    groups = {group["label"]: group for group in lines(page)["groups"]}
    group = groups["lr=0.01 hidden=[16]"]
    band = group["curves"]["val/loss"]
    seeds = [[row["val/loss"] for row in curve(12, lr=0.01, seed=seed)] for seed in range(3)]
    means = [sum(values) / 3 for values in zip(*seeds, strict=True)]
    assert len(group["rows"]) == 3
    assert band["x"] == list(range(12))
    assert band["mean"] == pytest.approx(means, rel=1e-4)
    assert all(low <= mean <= high for low, mean, high in zip(band["low"], band["mean"], band["high"], strict=True))
    assert all(low > 0 for low in band["low"])


def test_folds_are_repeats_as_seeds_are_and_have_a_mean_and_a_band(tmp_path: Path) -> None:
    grid = {"task.fold": range(5), "optimizer.lr": [0.001, 0.01]}
    make_sweep(tmp_path, grid, diverged=[0])

    html, page = pages(find([tmp_path]))

    report = gather(find([tmp_path]), title="")
    by_label = {group.label: group for group in report.groups}
    values = [row.metric for row in report.rows if row.values[0] == 0.01]
    assert [(setting.name, setting.repeats) for setting in report.settings] == [
        ("optimizer.lr", False),
        ("task.fold", True),
    ]
    assert by_label.keys() == {"lr=0.01", "lr=0.001"}
    found = by_label["lr=0.01"].metric
    assert (found.mean, found.std) == (pytest.approx(sum(values) / 5), pytest.approx(stdev(values)))
    assert (found.min, found.max, found.runs) == (min(values), max(values), 5)
    assert by_label["lr=0.001"].metric.runs == 4
    assert len(by_label["lr=0.001"].curves["val/loss"]["mean"]) == 12
    assert "the runs that differ in their task.fold only" in page.text
    assert 'id="repeats"' in html


def test_runs_that_repeat_nothing_have_no_table_of_means(tmp_path: Path) -> None:
    make_sweep(tmp_path, {"optimizer.lr": [0.001, 0.01]})

    html, page = pages(find([tmp_path]))

    assert 'id="repeats"' not in html
    assert "A line is a run." in page.text


def test_the_fits_of_the_best_and_the_median_run_are_embedded_with_a_text(sweep: list[Entry]) -> None:
    _, page = pages(sweep)

    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2
    assert all(image["src"] and image["src"].startswith("data:image/png;base64,") for image in images)
    assert [image["alt"].split(",")[0] for image in images] == [
        "The best run by val/loss",
        "The median run by val/loss",
    ]


def test_the_parameters_of_a_fit_stand_below_its_figure_with_their_errors(tmp_path: Path) -> None:
    parameters = (Parameter(name="b1", value=2.5, error=0.25, low=2, high=3), Parameter(name="<b2>", value=1, note="?"))
    fit = Fit(
        parameters=parameters, level=0.9, samples=9, freedom=7, cost=7, reduced=1, deviation=1, r2=0.5, aic=1, bic=2,
        covariance=(), correlations=(), runs_test=None,
    )  # fmt: skip
    make_run(tmp_path, fit=fit.plain())

    html, page = pages(find([tmp_path]))

    assert "variance of the residuals 1, with 7 degrees of freedom of 9 samples" in html
    assert "b1                      2.5            0.25  2 to 3" in html
    assert "<b2>" in page.text
    assert "<b2>" not in html


def test_each_plot_has_a_text_that_says_what_it_shows(sweep: list[Entry]) -> None:
    _, page = pages(sweep)

    plots = [attributes for _, attributes in page.tags if attributes.get("role") == "img"]
    texts = {attributes["id"]: attributes["aria-label"] for attributes in plots}
    assert set(texts) == {"against0", "against1", "against2", "parallel", "heat", "curve"}
    assert texts["against0"].startswith("val/loss against optimizer.lr: median 0.0")
    assert "at 0.01, the best" in texts["against0"]


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(
            tmp_path,
            name=f"run{seed}{EVIL}".replace("/", "_"),
            task=EVIL.replace("/", "_"),
            settings={EVIL: f"{EVIL}{seed}", "seed": seed},
            rows=[{"step": 1, "epoch": 0, EVIL: 0.5}, {"step": 2, "epoch": 1, EVIL: 0.25}],
            final={EVIL: 0.5 + seed},
            status=Status.DIVERGED if seed == 2 else Status.COMPLETED,
            reason=EVIL,
            versions={EVIL: EVIL},
            command=["train.py", EVIL],
        )

    html, page = pages(find([tmp_path]))

    allowed = {"html", "head", "meta", "title", "link", "style", "body", "a", "header", "h1", "h2", "h3", "p", "span"}
    allowed |= {"strong", "button", "div", "code", "nav", "main", "noscript", "section", "label", "input", "output"}
    allowed |= {"table", "thead", "tbody", "tr", "th", "td", "aside", "figure", "figcaption", "select", "option"}
    allowed |= {"details", "summary", "script", "img"}
    assert {tag for tag, _ in page.tags} <= allowed
    assert len(page.scripts) == 4
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert all((a.get("src") or "").startswith("data:image/png") for tag, a in page.tags if tag == "img")
    assert "<script>alert" not in html
    assert "kQ" * 7 not in page.text
    assert data(page)["metric"] == EVIL


def test_a_figure_behind_a_link_is_not_embedded(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(shade=99))
    run.fit_figure.unlink()
    run.fit_figure.symlink_to(secret)

    html, page = pages(find([tmp_path]))

    assert base64.b64encode(secret.read_bytes()).decode() not in html
    assert "This run has no figure" in page.text


def test_a_figure_that_is_no_png_is_not_embedded(tmp_path: Path) -> None:
    make_run(tmp_path).fit_figure.write_text("<svg onload='alert(1)'/>")

    _, page = pages(find([tmp_path]))

    assert not [tag for tag, _ in page.tags if tag == "img"]


@pytest.mark.parametrize("broken", ["run.json", "metrics.csv", "config.yaml"])
def test_a_damaged_run_is_listed_and_the_report_is_written(broken: str, tmp_path: Path) -> None:
    make_run(tmp_path, name="whole")
    (make_run(tmp_path, name="damaged").path / broken).write_bytes(b"\xff\x00,")

    _, page = pages(find([tmp_path]))

    assert {row[0] for row in data(page)["rows"]} == {"whole", "damaged"}


def test_values_that_are_not_finite_leave_a_page_that_parses(tmp_path: Path) -> None:
    rows = [{"step": 1, "epoch": 0, "val/loss": 0.5}, {"step": 2, "epoch": 1, "val/loss": float("nan")}]
    make_run(tmp_path, rows=rows, best=None, final={"val/loss": float("nan"), "r2": float("-inf")})
    make_run(tmp_path, settings={"optimizer.lr": 0.5})

    _, page = pages(find([tmp_path]))

    assert {row[4] for row in data(page)["rows"]} >= {None}
    assert lines(page)["metrics"]["val/loss"]


def test_runs_without_metrics_make_a_report(tmp_path: Path) -> None:
    make_run(tmp_path, rows=[], final={}, status=Status.FAILED, reason="it never began")

    _, page = pages(find([tmp_path]))

    assert "it never began" in page.text


def test_only_settings_with_several_values_count_as_different(tmp_path: Path) -> None:
    make_run(tmp_path, settings={"optimizer.lr": 0.1})
    make_run(tmp_path, settings={"optimizer.lr": 0.2, "trainer.only_here": 3}, choices={"optimizer": "sgd"})

    found = [setting.name for setting in gather(find([tmp_path]), title="").settings]

    assert found == ["optimizer", "optimizer.lr"]


def test_the_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "runs")
    path = tmp_path / "report.html"
    path.write_text("the report before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left"):
        write_report(find([tmp_path / "runs"]), path, title="a study")

    assert path.read_text() == "the report before"


def test_the_mean_of_runs_of_unequal_length_ends_with_the_shortest(tmp_path: Path) -> None:
    lengths = (1000, 300)
    each = {seed: {"rows": curve(epochs, lr=0.01, seed=seed)} for seed, epochs in enumerate(lengths)}
    make_sweep(tmp_path, {"optimizer.lr": [0.01], "seed": [0, 1]}, each=each)

    report = gather(find([tmp_path]), title="")

    [group] = report.groups
    shared = group.curves["val/loss"]["x"]
    long, short = (report.curves["val/loss"][row] for row in group.rows)
    assert long is not None
    assert short is not None
    assert sorted((max(long["x"]), max(short["x"]))) == [299, 999]
    assert len(shared) > 20
    assert max(shared) <= 299


def test_runs_that_halving_stopped_are_counted_and_not_ranked(tmp_path: Path) -> None:
    stopped = {"reason": "halving after epoch 3: place 2 of 2, of which 1 go on"}
    make_sweep(tmp_path, {"optimizer.lr": [0.01, 0.001], "seed": [0, 1]}, each={1: stopped, 2: stopped, 3: stopped})

    _, page = pages(find([tmp_path]))

    assert "1 trained to the end" in page.text
    assert "3 stopped by halving" in page.text
    assert [row.rank for row in gather(find([tmp_path]), title="").rows] == [1, None, None, None]
