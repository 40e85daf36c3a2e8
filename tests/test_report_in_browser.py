"""The report page in headless Chromium."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opro_dspy import OPROResult
from tests.runs import a_run, candidate, chosen_on
from tests.test_report import HOSTILE, hostile_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="needs Debian's chromium (apt-get install chromium) and playwright (pip)",
)


PHONE = {"width": 390, "height": 800}


def many(n: int) -> OPROResult:
    """A run with `n` candidates, the later the better; the last is chosen."""
    start = a_run().candidates[0]
    more = [candidate(f"Instruction {i}.", 1, {0: i / n}) for i in range(1, n)]
    return a_run(candidates=(start, *more), best_index=n - 1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    a_run().report(folder / "run.html")
    hostile_run().report(folder / "hostile.html")
    better = candidate("Better.", 1, {0: 1.0, 1: 1.0}, **chosen_on(dict.fromkeys(range(4), 1.0)))
    a_run(candidates=(a_run().candidates[0], better), best_index=1).report(folder / "better.html")
    many(97).report(folder / "many.html")
    a_run(candidates=(), best_index=None, steps=(), spent=()).report(folder / "empty.html")
    return folder


class Tab:
    """A page, and whatever it complained about or asked for."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)
        self.url = url

    def numbers(self) -> list[str]:
        """The candidates that are seen, in their order."""
        return list(self.page.locator("tr.candidate:visible td.index").all_inner_texts())


@pytest.fixture
def tab(browser: Any, pages: Path) -> Iterator[Tab]:
    tab = Tab(browser, (pages / "run.html").as_uri())
    yield tab
    assert tab.said == []
    assert tab.asked == [tab.url]
    tab.context.close()


def test_the_table_sorts_both_ways_and_says_so(tab: Tab) -> None:
    assert tab.numbers() == ["2", "0", "1", "3"]
    head = tab.page.locator("th[data-key=score]")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert tab.numbers() == ["2", "0", "1", "3"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert tab.numbers() == ["1", "3", "0", "2"]
    tab.page.locator("th[data-key=selection] button").click()
    assert head.get_attribute("aria-sort") is None
    assert tab.numbers() == ["2", "0", "1", "3"]


def test_the_table_is_searched_by_words(tab: Tab) -> None:
    tab.page.get_by_label("Search").fill("STEP think")
    assert tab.numbers() == ["2"]
    assert tab.page.locator("#count").inner_text() == "1 of 4"
    tab.page.get_by_label("Search").fill("nowhere")
    assert tab.numbers() == []
    assert not tab.page.locator("#table").is_visible()
    assert tab.page.get_by_text("No instruction has all of these words.").is_visible()


def test_a_search_hides_candidates_on_a_phone_too(browser: Any, pages: Path) -> None:
    tab = Tab(browser, (pages / "run.html").as_uri(), viewport=PHONE)
    tab.page.get_by_label("Search").fill("think step")
    assert tab.numbers() == ["2"]
    tab.context.close()


def test_the_first_candidates_are_shown_and_all_of_them_on_demand(
    browser: Any, pages: Path
) -> None:
    tab = Tab(browser, (pages / "many.html").as_uri(), viewport=PHONE)
    assert len(tab.numbers()) == 20
    tab.page.locator("th[data-key=index] button").click()
    assert tab.numbers() == [str(i) for i in range(20)]
    tab.page.get_by_label("Search").fill("instruction 96")
    assert tab.numbers() == ["96"]
    tab.page.get_by_label("Search").fill("")
    assert tab.page.evaluate("document.documentElement.scrollHeight") < 8000
    tab.page.emulate_media(media="print")
    assert len(tab.numbers()) == 97
    tab.page.emulate_media(media="screen")
    tab.page.get_by_role("button", name="Show all 97").click()
    assert len(tab.numbers()) == 97
    assert not tab.page.locator("#show-all").is_visible()
    assert tab.page.evaluate("document.activeElement.textContent") == "Open candidate 20"
    assert tab.said == []
    tab.context.close()


def test_a_dot_leads_to_a_candidate_that_was_not_shown(browser: Any, pages: Path) -> None:
    tab = Tab(browser, (pages / "many.html").as_uri())
    tab.page.locator("svg.wide circle[data-index='1']").dispatch_event("click")
    assert "Instruction 1." in tab.page.locator("tr.detail").inner_text()
    assert tab.page.locator("tr.detail").is_visible()
    tab.context.close()


def test_a_keyboard_gets_past_the_table(browser: Any, pages: Path) -> None:
    tab = Tab(browser, (pages / "many.html").as_uri())
    contents = tab.page.get_by_role("navigation", name="Contents").get_by_role("link")
    targets = contents.evaluate_all("all => all.map(a => a.getAttribute('href').slice(1))")
    assert [tab.page.locator(f"h2#{name}").count() for name in targets] == [1] * 7
    tab.page.get_by_role("link", name="Skip the table").focus()
    tab.page.keyboard.press("Enter")
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.id") == "show-all"
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.tagName") == "SUMMARY"
    tab.context.close()


def test_nothing_stands_open_and_empty(browser: Any, pages: Path) -> None:
    tab = Tab(browser, (pages / "better.html").as_uri())
    said = tab.page.locator("section[aria-labelledby=changed]").inner_text()
    assert "None got worse." in said
    assert "0 worse" not in said
    tab.context.close()


def test_a_candidate_opens_with_its_meta_prompt_by_keyboard_alone(tab: Tab) -> None:
    button = tab.page.get_by_role("button", name="Open candidate 2")
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        if button.evaluate("element => element === document.activeElement"):
            break
    outline = button.evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline == "solid"
    tab.page.keyboard.press("Enter")
    detail = tab.page.locator("tr.detail")
    assert "Improve it." in detail.inner_text()
    assert "Meta-prompt, temperature 0.5" in detail.inner_text()
    assert detail.locator("ins").first.inner_text() == "Think step by step"
    close = tab.page.get_by_role("button", name="Close candidate 2")
    assert close.get_attribute("aria-expanded") == "true"
    tab.page.locator("th[data-key=index] button").click()
    order = tab.page.locator("#table tbody tr").evaluate_all("all => all.map(r => r.className)")
    assert order[2:4] == ["candidate chosen", "detail"]
    close.focus()
    tab.page.keyboard.press("Enter")
    assert detail.count() == 0


def test_a_dot_of_the_curve_leads_to_its_candidate(tab: Tab) -> None:
    tab.page.locator("svg.wide [data-index='1']").dispatch_event("click")
    assert "Guess." in tab.page.locator("tr.detail").inner_text()


def test_the_best_instruction_is_copied(tab: Tab) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.page.get_by_role("button", name="Copy the instruction").click()
    tab.page.wait_for_function("document.getElementById('copied').textContent === 'Copied.'")
    assert tab.page.evaluate("navigator.clipboard.readText()") == "Think step by step."


def test_images_have_words_and_controls_have_names(tab: Tab) -> None:
    image = tab.page.get_by_role("img", name="Optimization curve")
    assert image.count() == 1
    names = tab.page.locator("button").evaluate_all("all => all.map(b => b.textContent.trim())")
    assert all(names)
    assert tab.page.locator("h1").count() == 1
    assert tab.page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_follows_the_scheme(
    browser: Any, pages: Path, scheme: str
) -> None:
    tab = Tab(browser, (pages / "run.html").as_uri(), viewport=PHONE, color_scheme=scheme)
    tab.page.get_by_role("button", name="Open candidate 2").click()
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
    ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(251, 251, 250)", "dark": "rgb(20, 23, 28)"}[scheme]
    assert tab.page.locator("svg.narrow").is_visible()
    assert tab.said == []
    tab.context.close()


def test_hostile_text_stays_text(browser: Any, pages: Path) -> None:
    tab = Tab(browser, (pages / "hostile.html").as_uri())
    tab.page.get_by_role("button", name="Open candidate 1").click()
    detail = tab.page.locator("tr.detail").inner_text()
    visible = HOSTILE.replace("\x1b", "\\x1b").replace("\ud800", "\ufffd")
    assert detail.count(visible.replace("\u202e", "\\x202e")) >= 3
    assert tab.page.locator("img").count() == 0
    assert tab.page.locator("script").count() == 2
    assert tab.said == []
    assert tab.asked == [tab.url]
    tab.context.close()


def test_an_empty_run_has_a_page_without_errors(browser: Any, pages: Path) -> None:
    tab = Tab(browser, (pages / "empty.html").as_uri())
    assert "No candidate was scored" in tab.page.locator("main").inner_text()
    assert tab.said == []
    tab.context.close()
