"""The status page in a real headless Chromium, on a service that runs: what it shows, what it does, for whom."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from metasync.sandbox.stack import Sandbox
from metasync.web.rendering import ref_url, table_url
from tests.browser import MISSING, chromium, is_there
from tests.conftest import SPARES, World, until
from tests.showcase import TOKEN, performed, stage

needs_chromium = pytest.mark.skipif(not is_there(), reason=MISSING)


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> World:
    return stage(sandbox, tmp_path_factory.mktemp("pages"), SPARES[2], "pages", create=True)


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[str]:
    with performed(world, acts=True) as url:
        yield url


@pytest.fixture(scope="module")
def browser(service: str) -> Iterator[WebDriver]:
    with chromium() as running:
        log_in(running, service)
        yield running


def log_in(browser: WebDriver, service: str) -> None:
    browser.get(f"{service}/events?state=dead")
    assert "/login" in browser.current_url
    browser.find_element(By.ID, "token").send_keys("not this", Keys.ENTER)
    until("refused", lambda: "token is wrong" in text(browser))
    browser.find_element(By.ID, "token").send_keys(TOKEN, Keys.ENTER)
    until("back where one wanted to be", lambda: browser.current_url.endswith("/events?state=dead"))


def text(browser: WebDriver) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def press(browser: WebDriver, label: str) -> None:
    buttons = [b for b in browser.find_elements(By.CSS_SELECTOR, "button, a.button") if b.text.startswith(label)]
    assert buttons, (label, text(browser))
    buttons[0].click()


def follow(browser: WebDriver, label: str) -> None:
    browser.find_element(By.PARTIAL_LINK_TEXT, label).click()


@needs_chromium
def test_what_is_shown(browser: WebDriver, service: str, world: World) -> None:
    browser.get(service)
    shown = text(browser)
    for word in ("Needs attention", "dead-event", "foreign-table", "withheld", "conflict", "branch/dev-2", "tag/v1.0"):
        assert word in shown, (word, shown)
    tiles = browser.find_elements(By.CSS_SELECTOR, ".tiles .good")
    assert {tile.text.splitlines()[0] for tile in tiles} >= {"lakefs", "metastore", "store"}
    follow(browser, "branch/dev-1")
    assert f"{world.database}__dev_1.orders" in text(browser) and "2 of 2" in text(browser)
    follow(browser, f"{world.database}.orders")
    dots, merges = (len(browser.find_elements(By.CSS_SELECTOR, kind)) for kind in ("circle.dot", "path.merge"))
    assert dots >= 6 and merges >= 2
    assert "merged from branch/dev-1" in text(browser) and "+column channel string" in text(browser)
    browser.find_element(By.ID, "q").send_keys(f"{world.database}__dev_2.ord", Keys.ENTER)
    until("found", lambda: f"as {world.database}__dev_2.orders" in text(browser))
    follow(browser, f"{world.database}.orders")
    assert browser.current_url.endswith(table_url(world.repository, f"{world.database}.orders"))
    browser.get(f"{service}/changes")
    follow(browser, "of branch/dev-1")
    assert "orders know their channel" in text(browser) and "+column channel string" in text(browser)
    wrong = [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert [entry for entry in wrong if "401" not in entry["message"]] == []


@needs_chromium
def test_pages_are_for_everybody(browser: WebDriver, service: str, world: World) -> None:
    paths = ["/", "/conflicts", "/conflict/1", "/plan/1", "/merge/1", "/changes", "/events", "/event/1", "/do/pause"]
    paths += [ref_url(world.repository, "branch/dev-1"), table_url(world.repository, f"{world.database}.orders")]
    for path in paths:
        browser.get(service + path)
        assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1, path
        assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
        unnamed = browser.execute_script(
            "return [...document.querySelectorAll('input:not([type=hidden]), select, button, svg, img')].filter(e => "
            "!(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim() || e.hasAttribute('alt')))"
            ".map(e => e.outerHTML)"
        )
        assert unnamed == [], path
        assert len(browser.find_elements(By.CSS_SELECTOR, "table:not(:has(caption))")) == 0, path
        overflow = browser.execute_script("return document.documentElement.scrollWidth > window.innerWidth")
        assert not overflow, path
    browser.get(service)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"


@needs_chromium
def test_a_conflict_is_settled_after_its_plan_was_shown(browser: WebDriver, service: str, world: World) -> None:
    customers = world.name("customers")
    browser.get(service)
    follow(browser, f"{world.database}.customers: branch/dev-2")
    sides = browser.find_element(By.CSS_SELECTOR, "table.sides").text
    for side in ("people who bought something", "everybody we know", "buyers"):
        assert side in sides
    press(browser, "Take theirs")
    until("the plan", lambda: "this is done" in text(browser))
    assert "buyers" in browser.find_element(By.CSS_SELECTOR, ".plan").text
    assert world.tables.table(customers).parameters["comment"] == "everybody we know"
    press(browser, "Take theirs")
    until("done", lambda: "done" in text(browser) and "/do/resolve/" in browser.current_url)
    assert world.tables.table(customers).parameters["comment"] == "buyers"
    browser.get(f"{service}/conflicts")
    assert "There are none" in text(browser)


@needs_chromium
def test_a_plan_is_applied(browser: WebDriver, service: str, world: World) -> None:
    browser.get(service)
    follow(browser, "plan 1")
    assert "-partition (2026-11-20)" in text(browser)
    before = len(world.tables.partitions(world.name("orders")))
    press(browser, "Apply exactly this")
    until("applied", lambda: len(world.tables.partitions(world.name("orders"))) == before - 1)
    browser.get(f"{service}/plan/1")
    assert "applied" in text(browser)


@needs_chromium
def test_an_event_is_replayed_and_a_repository_reconciled(browser: WebDriver, service: str, world: World) -> None:
    browser.get(f"{service}/event/1")
    press(browser, "Replay")
    until("its plan", lambda: "queued again" in text(browser))
    press(browser, "Replay")
    # The page looks again by itself.
    until("done", lambda: "event 1" in text(browser).lower() and "\ndone" in text(browser))
    browser.get(service + ref_url(world.repository, "branch/dev-1"))
    press(browser, "Reconcile")
    until("the plan", lambda: "What it would change" in text(browser))
    press(browser, "Reconcile now")
    until("done", lambda: "/event/" in browser.current_url and "\ndone" in text(browser))


@needs_chromium
def test_pausing_without_javascript(service: str) -> None:
    with chromium(scripts=False) as browser:
        log_in(browser, service)
        browser.get(f"{service}/do/pause")
        browser.find_element(By.ID, "reason").send_keys("the metastore is upgraded")
        browser.find_element(By.ID, "for").send_keys("2h")
        press(browser, "Pause")
        until("paused", lambda: "by status page: the metastore is upgraded" in text(browser))
        browser.get(f"{service}/do/pause")
        press(browser, "Resume")
        until("resumed", lambda: "Needs attention" in text(browser) and "is upgraded" not in text(browser))


def test_nobody_acts_from_elsewhere(service: str) -> None:
    with httpx.Client(base_url=service, follow_redirects=False) as client:
        assert client.get("/", headers={"accept": "text/html"}).headers["location"] == "/login?to=%2F"
        assert client.post("/do/resume/1").status_code == 303
        assert client.get("/login?to=//evil.example").text.count("evil.example") == 0
        entered = client.post("/login", data={"token": TOKEN, "to": "/events"})
        assert (entered.status_code, entered.headers["location"]) == (303, "/events")
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert client.post("/do/resume/1").status_code == 403
        assert client.post("/do/resume/1", data={"word": "x" * 64}).status_code == 403
        page = client.get("/", headers={"accept": "text/html"})
        assert page.status_code == 200 and "script-src 'self'" in page.headers["content-security-policy"]
        assert client.get("/conflict/999", headers={"accept": "text/html"}).status_code == 404
        client.cookies.set("metasync_session", "9999999999.abc.def", domain="127.0.0.1")
        assert httpx.get(service, cookies={"metasync_session": "9999999999.abc.def"}).status_code == 303
