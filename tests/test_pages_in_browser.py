"""Pages in a real browser: sorting by mouse and keyboard, pictures, links, quiet console, no requests, phone width."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dfcbench.archive import Archive
from dfcbench.contest import FusionContest
from dfcbench.leaderboard import build_all
from dfcbench.report.board import write_board
from dfcbench.submission import METRICS, find_submissions
from tests import datamaker
from tests.made_submissions import DATA, made_submission
from tests.pages import mapped_submission

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
PHONE = (390, 844)
DESKTOP = (1440, 900)


class Browser:
    """Chromium without a window, on pages from disk."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.console()
        self.requests()
        self.driver.get(path.as_uri())

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def console(self) -> list[str]:
        """Messages since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def column(self, title: str, table: int = 0) -> list[str]:
        """Texts of a column, top down."""
        return self.run(
            """
            const table = document.querySelectorAll("table.sortable")[arguments[1]];
            const index = [...table.tHead.rows[0].cells].findIndex(
                (head) => head.textContent.trim() === arguments[0]);
            return [...table.tBodies[0].rows].map((row) => row.cells[index].textContent.trim());
            """,
            title,
            table,
        )

    def button(self, title: str, table: int = 0) -> Any:
        return self.run(
            """
            const table = document.querySelectorAll("table.sortable")[arguments[1]];
            return [...table.querySelectorAll("thead button")].find(
                (button) => button.textContent.trim() === arguments[0]);
            """,
            title,
            table,
        )

    def order(self, title: str, table: int = 0) -> str | None:
        """What assistive technology is told of a column."""
        return self.run('return arguments[0].closest("th").getAttribute("aria-sort")', self.button(title, table))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    selenium = pytest.importorskip(
        "selenium.webdriver", reason="selenium is not installed (pip install dfcbench[test])"
    )
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    control = shutil.which("chromedriver")
    if binary is None or control is None:
        pytest.skip("no chromium with chromedriver on this machine (Debian: apt-get install chromium chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(control))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@dataclass(frozen=True)
class Site:
    board: Path
    run: Path
    """Page of a run with pictures, curves and long names."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Boards on made-up submissions of every kind, of which one has everything that a page can show."""
    root = tmp_path_factory.mktemp("site")
    datamaker.write_contest(root / "data", validation=5, test=7)
    contest = FusionContest(Archive.open(root / "data"), 1, "test")
    whole = mapped_submission(root / "runs", contest, "mapped", quality=0.3)
    lines = [{"name": name, "value": 1 / (s + 1), "step": s} for name in ("loss", "x" * 90) for s in range(9)]
    lines.append({"name": "once", "value": 3.0, "step": None})
    (whole.folder / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    for number, quality in enumerate((0.2, 0.995, 0.5)):
        made_submission(root / "runs", f"method-{number}", quality=quality, seed=9 + number)
    given = {"inputs": "s1+s2", "a_parameter_with_a_long_name": "and_a_value_" * 9}
    made_submission(root / "runs", "a-method-with-an-uncommonly-long-name", quality=0.4, seed=100, overrides=given)
    made_submission(root / "runs", "limited", quality=0.9, data={"patches": 24, "limit": 6})
    made_submission(root / "runs", "tuned", quality=0.8, badges=["transductive", "leaderboard-tuned"])
    for number in range(2):
        made_submission(root / "runs", f"blind-{number}", quality=None, seed=number)
    made_submission(root / "runs", "real", data={"name": "dfc2020", "title": "DFC2020", "official": True}, track=2)
    for board in build_all(find_submissions(root / "runs")[0]):
        write_board(board, root / "boards")
    folder = root / "boards" / DATA
    (run,) = (folder / "track1-test").glob("mapped-*.html")
    return Site(folder / "track1-test.html", run)


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace(",", "")) for text in texts if text]


def test_click_on_a_title_sorts_by_number_and_again_reverses(browser: Browser, site: Site) -> None:
    browser.open(site.board)
    assert numbers(browser.column("#")) == [1, 2, 3, 4, 5]
    assert browser.order("#") == "ascending"
    button = browser.button("Water")
    before = browser.column("Water")
    button.click()
    largest_first = numbers(browser.column("Water"))
    assert largest_first == sorted(numbers(before), reverse=True)
    assert browser.order("Water") == "descending"
    assert browser.order("#") is None
    button.click()
    assert numbers(browser.column("Water")) == largest_first[::-1]
    assert browser.order("Water") == "ascending"
    browser.button("seed").click()
    assert numbers(browser.column("seed")) == [0, 9, 10, 11, 100], "sorted as text, 100 would come before 9"


def test_rows_move_as_wholes(browser: Browser, site: Site) -> None:
    browser.open(site.board)
    before = dict(zip(browser.column("method"), browser.column("AA"), strict=True))
    browser.button("method").click()
    names = browser.column("method")
    assert names == sorted(before)
    assert dict(zip(names, browser.column("AA"), strict=True)) == before


def test_empty_cells_come_last_in_both_directions(browser: Browser, site: Site) -> None:
    browser.open(site.board.parents[1] / "dfc2020" / "track2-test.html")
    tables = browser.run('return [...document.querySelectorAll("table.sortable caption")].map((c) => c.textContent)')
    table = tables.index("Published: results of others")
    for _ in range(2):
        browser.button("Forest", table).click()
        column = browser.column("Forest", table)
        known = [text for text in column if text]
        assert len(known) == 4
        assert column[4:] == [""] * (len(column) - 4)
        ordered = sorted(known, key=float, reverse=browser.order("Forest", table) == "descending")
        assert known == ordered


def test_keyboard_reaches_every_title_and_sorts(browser: Browser, site: Site) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.open(site.board)
    for _ in range(60):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        if browser.run("return document.activeElement.textContent.trim()") == "AA":
            break
    assert browser.run("return document.activeElement.tagName") == "BUTTON"
    outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "the focus cannot be seen"
    before = browser.column("#")
    for key, order in ((Keys.ENTER, "descending"), (Keys.ENTER, "ascending"), (Keys.SPACE, "descending")):
        ActionChains(browser.driver).send_keys(key).perform()
        assert browser.order("AA") == order
        assert browser.column("#") == (before if order == "descending" else before[::-1])
    assert browser.run("return document.activeElement.textContent.trim()") == "AA", "sorting took the focus away"


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_pages_load_quietly_and_ask_for_nothing(browser: Browser, site: Site, size: tuple[int, int]) -> None:
    for page in (site.board, site.run):
        browser.open(page, size)
        assert browser.console() == []
        asked = browser.requests()
        assert page.as_uri() in asked
        assert [url for url in asked if url != page.as_uri() and not url.startswith("data:")] == []
        names = browser.run('return performance.getEntriesByType("resource").map((entry) => entry.name)')
        assert [name for name in names if not name.startswith("data:")] == []


def test_noise_and_requests_would_be_heard(browser: Browser, site: Site, tmp_path: Path) -> None:
    loud = tmp_path / "loud.html"
    loud.write_text('<img src="missing.png"><script>console.error("heard")</script>')
    browser.open(loud)
    assert (tmp_path / "missing.png").as_uri() in browser.requests()
    assert any("heard" in message for message in browser.console())
    browser.open(site.board)
    browser.run('const image = new Image(); image.src = "missing.png"; document.body.append(image)')
    assert any("Content Security Policy" in message for message in browser.console()), "the page may load things"


def test_pictures_load(browser: Browser, site: Site) -> None:
    browser.open(site.run)
    sizes = browser.run(
        "return Promise.all([...document.images].map((image) => image.decode().then(() => "
        "[image.naturalWidth, image.naturalHeight, image.alt.length])))"
    )
    assert len(sizes) == 4 * 6
    assert all(min(size) > 0 for size in sizes)
    drawn = browser.run('return [...document.querySelectorAll(".charts .curve")].map((line) => line.getTotalLength())')
    assert len(drawn) == 2
    assert all(length > 100 for length in drawn)


def test_links_lead_to_pages_and_back(browser: Browser, site: Site) -> None:
    browser.open(site.board)
    links = browser.run('return [...document.querySelectorAll("table.sortable a")].map((anchor) => anchor.href)')
    assert len(links) == 9
    for link in links:
        browser.driver.get(link)
        assert browser.run('return document.querySelector("h1") !== null'), link
        back = browser.run('return document.querySelector("footer a").href')
        assert back == site.board.as_uri()


def test_patterns_of_the_legend_are_there(browser: Browser, site: Site) -> None:
    browser.open(site.board)
    used = browser.run(
        'return [...document.querySelectorAll(".swatch rect:last-child")].map((rect) => rect.getAttribute("fill"))'
    )
    found = browser.run('return [...document.querySelectorAll("pattern")].map((pattern) => `url(#${pattern.id})`)')
    assert len(used) == 10
    assert set(used) - set(found) == {"url(#pattern-10)"}, "only Water is plain"


def test_nothing_is_wider_than_a_phone_but_what_scrolls_by_itself(browser: Browser, site: Site) -> None:
    for page in (site.board, site.run):
        browser.open(page, PHONE)
        width = browser.run("return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]")
        assert width == [PHONE[0]] * 3
        scrolling = browser.run(
            'return [...document.querySelectorAll(".scroll")].filter((s) => s.scrollWidth > s.clientWidth).length'
        )
        assert scrolling > 0
        reachable = browser.run(
            'return [...document.querySelectorAll(".scroll")].every((s) => s.scrollWidth <= s.clientWidth '
            '|| (s.tabIndex === 0 && s.getAttribute("aria-label")))'
        )
        assert reachable, "a table that scrolls must be reachable by keyboard"


CONTRASTS = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (node) => {
    for (; node; node = node.parentElement) {
        const colour = parse(getComputedStyle(node).backgroundColor);
        if (colour.length < 4 || colour[3] > 0.5) return colour;
    }
    return [255, 255, 255];
};
const result = [];
const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || node.closest("svg, .hidden")) continue;
    const [a, b] = [parse(getComputedStyle(node).color), ground(node)].map(luminance).sort((one, two) => two - one);
    result.push([(a + 0.05) / (b + 0.05), walker.currentNode.data.trim()]);
}
return result.sort((one, two) => one[0] - two[0]);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(browser: Browser, site: Site, scheme: str) -> None:
    for page in (site.board, site.run):
        browser.open(page, scheme=scheme)
        lowest, *_, highest = browser.run(CONTRASTS)
        assert lowest[0] >= 4.5, lowest
        assert highest[0] > 10
    dark = browser.run("return getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
