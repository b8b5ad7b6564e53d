"""The search page in a real browser, for tests: what a user does and sees."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NEEDS_BROWSER = pytest.mark.skipif(
    not (CHROMIUM and DRIVER and find_spec("selenium")),
    reason="chromium and chromedriver (apt-get install them) or selenium (extra 'dev') are not here",
)
FLAGS = (
    "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    "disable-component-update disable-sync window-size=1280,900"
)


@contextmanager
def headless(profile: Path) -> Iterator[Any]:
    """A browser with an empty profile that keeps what the console says and what is sent."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"user-data-dir={profile}"]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
        yield browser
    finally:
        browser.quit()


class Page:
    """What a user does and sees; every search that the browser sent is kept in ``sent``."""

    def __init__(self, browser, url: str):
        self.browser, self.url = browser, url
        self.sent: list[dict] = []

    def open(self, fragment: str = "", ready: str = "#app:not([hidden])"):
        self.browser.get("about:blank")
        self.browser.get(f"{self.url}/{fragment}")
        self.until(lambda: self.all(ready))
        return self

    def js(self, script: str, *arguments):
        return self.browser.execute_script(script, *arguments)

    def all(self, selector: str):
        return self.browser.find_elements("css selector", selector)

    def one(self, selector: str):
        return self.all(selector)[0]

    def texts(self, selector: str) -> list[str]:
        """All at once, as they are read: hidden parts and line breaks of the layout left out."""
        return self.js(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
        )

    def ids(self, side: str = "small") -> list[str]:
        return self.js(
            "return [...document.querySelectorAll(`article[data-side=${arguments[0]}]`)].map(e => e.dataset.id)",
            side,
        )

    def press(self, *keys: str, into: str | None = None):
        target = self.one(into) if into else self.browser.switch_to.active_element
        target.send_keys(*keys)

    def until(self, holds, seconds: float = 20):
        deadline = time.monotonic() + seconds
        while not (results := holds()):
            assert time.monotonic() < deadline, (
                f"not within {seconds:g} s; the page says {self.texts('main')}"
            )
            time.sleep(0.02)
        return results

    def settled(self):
        """Waits until no search is under way."""
        done = "return !document.querySelector('.skeleton') && document.getElementById('results').ariaBusy === 'false'"
        self.until(lambda: self.js(done) and (self.all("article") or self.all("#message:not([hidden])")))
        return self

    def search(self, query: str):
        self.one("#query").clear()
        self.press(query, into="#query")
        self.until(lambda: self.state().get("q") == [query])
        return self.settled()

    def state(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.browser.current_url).fragment)

    def searches(self) -> list[dict]:
        """The bodies of all searches that the browser sent so far."""
        for line in self.browser.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                request = message["params"]["request"]
                if request["url"].endswith("/v1/search"):
                    self.sent.append(json.loads(request["postData"]))
        return self.sent

    def complaints(self) -> list[str]:
        """What the browser's console has on record, refused scripts and failed requests among it."""
        return [line["message"] for line in self.browser.get_log("browser")]
