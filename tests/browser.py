"""A headless Chromium, driven over WebDriver: Debian's packages `chromium` and `chromium-driver`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver

MISSING = "needs Chromium and its driver: apt-get install chromium chromium-driver"


def is_there() -> bool:
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


@contextmanager
def chromium(*, dark: bool = False, scripts: bool = True, size: tuple[int, int] = (1280, 900)) -> Iterator[WebDriver]:
    """A browser with a window of `size` pixels."""
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={size[0]},{size[1]}")
    if not scripts:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        if dark:
            feature = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        yield browser
    finally:
        browser.quit()
