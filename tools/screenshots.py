"""`make screenshots`: the pictures of the documentation, taken of a service that runs, into docs/images/."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By

from metasync.application.queries import Queries
from metasync.sandbox.stack import Sandbox
from metasync.settings import Settings, load_settings
from metasync.store.stores import open_stores
from metasync.web.rendering import ref_url, table_url
from tests.browser import MISSING, chromium, is_there
from tests.showcase import TOKEN, performed, stage

IMAGES = Path(__file__).parents[1] / "docs" / "images"
MARGIN = 16


def main() -> int:
    if not is_there():
        print(MISSING, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="metasync-pictures-") as name, Sandbox(Path(name), ("lake",)) as sandbox:
        folder = Path(name)
        world = stage(sandbox, folder, "lake", "sales", create=False)
        with performed(world, acts=True) as url:
            take_all(url, load_settings(folder / "metasync.yaml"))
    return 0


def take_all(url: str, settings: Settings) -> None:
    with open_stores(settings.store) as stores:
        conflict = Queries(settings, stores).conflicts().items[0].id
        plan = Queries(settings, stores).plans().items[0].id
    pages = {
        "overview": "/", "ref": ref_url("lake", "branch/dev-1"), "table": table_url("lake", "sales.orders"),
        "conflict": f"/conflict/{conflict}", "plan": f"/plan/{plan}",
    }  # fmt: skip
    for dark in (False, True):
        with chromium(dark=dark) as browser:
            log_in(browser, url)
            for picture, path in pages.items():
                browser.get(url + path)
                take(browser, IMAGES / f"{picture}{'-dark' if dark else ''}.png")


def log_in(browser: WebDriver, url: str) -> None:
    browser.get(url)
    browser.find_element(By.ID, "token").send_keys(TOKEN)
    browser.find_element(By.CSS_SELECTOR, "form.login button").click()


def take(browser: WebDriver, path: Path) -> None:
    """The whole page, however long it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height = browser.execute_script("return document.body.scrollHeight")
    browser.set_window_size(1280, int(height) + MARGIN + 140)
    browser.save_screenshot(str(path))
    browser.set_window_size(1280, 900)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
