"""The report as a person uses it, in a browser: opened, sorted, filtered, clicked, on a phone and in the dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Browser, chromium, needs_axe, needs_browser
from runs import make_run, make_sweep
from shoal.review.catalog import find
from shoal.review.report import write_report
from shoal.rundir import Status

pytestmark = [needs_browser, pytest.mark.browser]

_WEAKEST_CONTRAST = """
const channel = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const luminance = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((c) => channel(c / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  const color = getComputedStyle(element).backgroundColor;
  return color !== "rgba(0, 0, 0, 0)" ? color : behind(element.parentElement);
};
const texts = "h1, h2, p, a, th button, td, code, button, label, summary, figcaption, output";
return [...document.querySelectorAll(texts)].map((element) => {
  const [a, b] = [luminance(getComputedStyle(element).color), luminance(behind(element))];
  return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 80)];
}).sort((x, y) => x[0] - y[0])[0];
"""
_ROWS = """
return [...document.querySelectorAll("#runs tbody tr:not([hidden])")].map((row) => row.cells[arguments[0]].textContent);
"""
_FOCUS = """
const element = document.activeElement;
return element.id || element.dataset.key || element.dataset.show || element.className || element.tagName;
"""
_ON_FIRST_AXIS = """
const area = document.querySelector("#parallel .nsewdrag").getBoundingClientRect();
const { xaxis, yaxis } = document.getElementById("parallel")._fullLayout;
return [area.x + xaxis.d2p(0), ...[...arguments].map((y) => area.y + yaxis.d2p(y))].map(Math.round);
"""
"""Where the first axis of the parallel coordinates is on the screen, and heights on it, from 0 to 1."""
_HOVER = """
document.querySelectorAll(".plot .nsewdrag").forEach((area) =>
  area.dispatchEvent(new MouseEvent("mousemove", { bubbles: true })));
"""

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report on a sweep."""
    folder = tmp_path_factory.mktemp("study")
    grid = {"optimizer.lr": [0.0001, 0.001, 0.01, 0.03, 0.1], "model.hidden": [[32, 32], [16]], "seed": [0, 1, 2]}
    make_sweep(folder, grid, diverged=[25], failed=[4])
    return write_report(find([folder]), folder / "report.html", title="parabola study").as_uri()


def opened(browser: Browser, url: str, *, width: int = 1280, dark: bool = False) -> None:
    browser.open(url, width=width, dark=dark)
    browser.wait("document.documentElement.dataset.ready")


def rows(browser: Browser, column: int) -> list[str]:
    """The texts of a column of the leaderboard, as they stand there, without the hidden rows."""
    return browser.run(_ROWS, column)


def click(browser: Browser, selector: str) -> None:
    from selenium.webdriver.common.by import By

    browser.driver.find_element(By.CSS_SELECTOR, selector).click()


@pytest.mark.parametrize(
    ("name", "width", "dark"), [("desktop", 1280, False), ("dark", 1280, True), ("phone", 390, False)]
)
def test_the_report_opens_complete_and_without_a_complaint(
    name: str, width: int, dark: bool, browser: Browser, study: str
) -> None:
    opened(browser, study, width=width, dark=dark)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.screenshot(f"report-{name}")

    plots = browser.run(
        "return [...document.querySelectorAll('.plot')].map(p => [p.id, p.querySelectorAll('svg').length])"
    )
    assert dict(plots).keys() == {"against0", "against1", "against2", "parallel", "heat", "curve"}
    assert all(count for _, count in plots)
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.complaints() == []


@needs_axe
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_nothing_on_the_page_is_a_barrier(width: int, dark: bool, browser: Browser, study: str) -> None:
    opened(browser, study, width=width, dark=dark)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    click(browser, "[data-show]")

    assert browser.barriers() == []


def test_on_paper_no_table_is_cut_and_no_row_is_hidden(browser: Browser, study: str) -> None:
    opened(browser, study, width=718)  # A4 without its margins, in CSS pixels

    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.run("dispatchEvent(new Event('beforeprint'))")

    wide = "[...document.querySelectorAll('table, .plot')].filter(e => e.getBoundingClientRect().right > innerWidth)"
    hidden = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollHeight > e.clientHeight + 2)"
    assert browser.run(f"return {wide}.map(e => e.id)") == []
    assert browser.run(f"return {hidden}.length") == 0
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_colors_follow_the_scheme(browser: Browser, study: str) -> None:
    backgrounds = []
    for dark in (False, True):
        opened(browser, study, dark=dark)
        backgrounds.append(browser.run("return getComputedStyle(document.body).backgroundColor"))

    assert backgrounds == ["rgb(255, 255, 255)", "rgb(15, 20, 25)"]


@pytest.mark.parametrize("dark", [False, True])
def test_texts_stand_out_from_their_background(dark: bool, browser: Browser, study: str) -> None:
    opened(browser, study, dark=dark)

    ratio, element = browser.run(_WEAKEST_CONTRAST)

    assert ratio >= 4.5, element


def test_a_click_on_a_header_sorts_and_a_second_one_turns_the_order(browser: Browser, study: str) -> None:
    opened(browser, study)

    click(browser, "[data-key=seconds]")
    rising = rows(browser, 9)
    click(browser, "[data-key=seconds]")
    falling = rows(browser, 9)

    assert rising == sorted(rising)
    assert falling == sorted(rising, reverse=True)
    assert browser.run("return document.querySelector('[data-key=seconds]').closest('th').ariaSort") == "descending"


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("diverged", 1),
        ("optimizer.lr=0.01", 6),
        ("optimizer.lr<0.005 seed=2", 4),
        ("model.hidden=[16] optimizer.lr>=0.03", 6),
        ("status!=completed", 2),
        ("val/loss<0.006 completed", 12),
        ("nothing-like-this", 0),
    ],
)
def test_the_filter_keeps_the_runs_that_meet_all_of_it(text: str, n: int, browser: Browser, study: str) -> None:
    from selenium.webdriver.common.by import By

    opened(browser, study)
    browser.driver.find_element(By.ID, "filter").send_keys(text)
    browser.wait(f"document.getElementById('count').textContent === '{n} of 30 runs'")

    assert len(rows(browser, 0)) == n
    click(browser, "#reset")
    assert len(rows(browser, 0)) == 30
    assert browser.complaints() == []


def test_a_chosen_run_shows_its_command_and_is_marked(browser: Browser, study: str) -> None:
    opened(browser, study)

    click(browser, "#runs [data-show='2']")

    text = browser.run("return document.getElementById('chosen').innerText")
    assert "python train.py task=parabola optimizer.lr=" in text
    assert browser.run("return document.querySelectorAll('#runs tr.chosen').length") == 1


def test_everything_can_be_done_from_the_keyboard(browser: Browser, study: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    opened(browser, study)
    reached = set()
    for _ in range(45):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        reached.add(browser.run(_FOCUS))
    browser.run("document.querySelector('[data-key=metric]').focus()")
    ActionChains(browser.driver).send_keys(Keys.ENTER).perform()

    assert {"skip", "filter", "reset", "rank", "metric", "0", "scroll tall"} <= reached
    assert browser.run("return document.querySelector('[data-key=metric]').closest('th').ariaSort") == "ascending"


def test_the_controls_of_the_plots_redraw_them(browser: Browser, study: str) -> None:
    opened(browser, study)
    browser.run("dispatchEvent(new Event('beforeprint'))")

    browser.run(
        "const s = document.getElementById('heat-x'); s.selectedIndex = 2; s.dispatchEvent(new Event('change'))"
    )
    browser.run(
        "const s = document.getElementById('curve-metric'); s.selectedIndex = 1; s.dispatchEvent(new Event('change'))"
    )
    few = browser.run("return document.getElementById('curve').data.length")
    browser.run(
        "const s = document.getElementById('curve-all'); s.checked = true; s.dispatchEvent(new Event('change'))"
    )

    assert browser.run("return document.getElementById('heat').layout.xaxis.title.text") == "seed"
    assert browser.run("return document.getElementById('curve').layout.yaxis.title.text") == "val/loss"
    assert browser.run("return document.getElementById('curve').data.length") > few
    assert browser.complaints() == []


def test_names_that_are_markup_run_nothing(browser: Browser, tmp_path: Path) -> None:
    for seed in range(4):
        make_run(
            tmp_path,
            name=f"run{seed}{EVIL}".replace("/", "_"),
            settings={EVIL: f"{EVIL}{seed}", "optimizer.lr": 0.01 * (seed + 1), "seed": seed},
            final={EVIL: 0.5 + seed},
            best=None,
            rows=[{"step": 1, "epoch": 0, EVIL: 0.5}, {"step": 2, "epoch": 1, EVIL: 0.25}],
            status=Status.FAILED if seed == 3 else Status.COMPLETED,
            reason=EVIL,
            command=["train.py", EVIL],
        )
    page = write_report(find([tmp_path]), tmp_path / "report.html", title=EVIL)

    opened(browser, page.as_uri())
    browser.run("dispatchEvent(new Event('beforeprint'))")
    click(browser, "#runs [data-show='1']")
    browser.run(_HOVER)

    assert browser.run("return document.querySelectorAll('main img:not([src^=\"data:\"])').length") == 0
    assert browser.run("return document.scripts.length") == 3
    assert browser.complaints() == []


def test_a_report_on_one_run_opens(browser: Browser, tmp_path: Path) -> None:
    make_run(tmp_path)
    page = write_report(find([tmp_path]), tmp_path / "report.html", title="one")

    opened(browser, page.as_uri())

    assert rows(browser, 0) == ["1"]
    assert browser.complaints() == []


def test_dragging_over_an_axis_of_all_settings_filters_by_it(browser: Browser, study: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    opened(browser, study)
    browser.run("dispatchEvent(new Event('beforeprint'))")  # what is drawn later would move the page
    browser.run("document.getElementById('parallel').scrollIntoView({ block: 'center', behavior: 'instant' })")
    browser.wait("document.querySelector('#parallel .nsewdrag')")
    left, top, low = browser.run(_ON_FIRST_AXIS, 1.1, 0.6)
    actions = ActionChains(browser.driver)
    pointer = actions.w3c_actions.pointer_action

    pointer.move_to_location(left - 20, top).pointer_down()
    pointer.move_to_location(left + 20, low).pointer_up()
    actions.perform()

    browser.wait("document.getElementById('filter').value")
    assert browser.run("return document.getElementById('filter').value") == "optimizer.lr>=0.01 optimizer.lr<=0.1"
    assert set(rows(browser, 3)) == {"0.01", "0.03", "0.1"}


def test_categories_stand_in_the_order_typed_and_several_are_one_condition(browser: Browser, study: str) -> None:
    opened(browser, study)
    browser.run("document.getElementById('against1').scrollIntoView()")
    browser.wait("document.querySelector('#against1 .xtick')")

    ticks = browser.run("return [...document.querySelectorAll('#against1 .xtick')].map(tick => tick.textContent)")
    browser.run("const box = document.getElementById('filter'); box.value = 'model.hidden=[16]|[8]';"
                "box.dispatchEvent(new Event('input'))")  # fmt: skip
    browser.wait("document.getElementById('count').textContent.includes(' of ')")

    assert ticks == ["[32,32]", "[16]"]
    assert set(rows(browser, 4)) == {"[16]"}
