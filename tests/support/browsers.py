"""A real browser, without a screen: Debian's chromium through Selenium."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

PROGRAMS = ("chromium", "chromedriver")
MISSING = [program for program in PROGRAMS if not shutil.which(program)]

_SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--disable-extensions", "--force-device-scale-factor=1"),
)


@contextmanager
def browser() -> Iterator[Chrome]:
    """Start a browser with its own profile; it ends with the context."""
    with TemporaryDirectory() as profile:
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for switch in (*_SWITCHES, f"--user-data-dir={profile}"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = Chrome(options, ChromeService(shutil.which("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()


def open_page(
    driver: Chrome, page: Path, *, width: int, height: int = 900, scheme: str = "light", media: str = "screen"
) -> None:
    """Open a file in a window of this size."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    _command(driver, "Emulation.setDeviceMetricsOverride", **size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    _command(driver, "Emulation.setEmulatedMedia", media=media, features=features)
    driver.get(page.resolve().as_uri())


def screenshot(driver: Chrome, path: Path) -> None:
    """Save the visible part of the page as PNG."""
    path.write_bytes(base64.b64decode(_command(driver, "Page.captureScreenshot")["data"]))


def _command(driver: Chrome, name: str, **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = driver.execute_cdp_cmd(name, params)
    return answer
