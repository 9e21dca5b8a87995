"""A headless Chromium, driven as WebDriver (W3C) has it: over HTTP, by chromedriver, with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

PROGRAMS = "chromium", "chromedriver"
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Space": " ", "Shift": "\ue008"}
LACKING = [name for name in PROGRAMS if shutil.which(name) is None]
MARKS = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(LACKING), reason=f"not installed here: {', '.join(LACKING)}"),
]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One tab with a fresh profile in ``folder``; what it downloads comes into ``folder / "downloads"``."""

    def __init__(self, folder: Path) -> None:
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True)
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        assert self.driver.stdout is not None
        found = None
        while found is None:
            line = self.driver.stdout.readline()
            assert line, "chromedriver ended before it listened"
            found = re.search(r"started successfully on port (\d+)", line)
        self.root = f"http://127.0.0.1:{found[1]}"
        options = {
            "binary": shutil.which("chromium"), "args": [*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"],
            "prefs": {"download.default_directory": str(self.downloads)},
        }  # fmt: skip
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.root += f"/session/{session['sessionId']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(10)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as e:
            told = json.load(e)["value"]
            raise AssertionError(f"{told['error']}: {told['message'].splitlines()[0]}") from None

    def go(self, address: str) -> None:
        self._call("POST", "/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body returns, or the promise that it returns comes to; ``arguments`` are its ``arguments``."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script: str, *arguments: Any, seconds: float = 60) -> Any:
        """What an expression comes to once that is true."""
        ends = time.monotonic() + seconds
        while not (found := self.run(f"return ({script});", *arguments)):
            assert time.monotonic() < ends, f"never came: {script}; the page says: {self.text('main')[-1500:]}"
            time.sleep(0.05)
        return found

    def text(self, css: str) -> str:
        """What can be read there."""
        found: str = self.run("return document.querySelector(arguments[0]).innerText;", css)
        return found

    def _find(self, css: str) -> str:
        found: str = self._call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]
        return found

    def click(self, css: str) -> None:
        """As a person does, who scrolls there, and can only click on what nothing else covers."""
        self.run("document.querySelector(arguments[0])?.scrollIntoView({block: 'center'})", css)
        self._call("POST", f"/element/{self._find(css)}/click", {})

    def type(self, css: str, text: str) -> None:
        """Type a text in place of the one that is there."""
        element = self._find(css)
        self._call("POST", f"/element/{element}/clear", {})
        self._call("POST", f"/element/{element}/value", {"text": text})

    def choose(self, css: str, value: str) -> None:
        """Choose an option by its value, with the events that the keyboard would send."""
        script = """const [css, value] = arguments, select = document.querySelector(css);
            if (![...select.options].some((option) => option.value === value)) throw new Error(`no option ${value}`);
            select.value = value;
            for (const event of ["input", "change"]) select.dispatchEvent(new Event(event, {bubbles: true}));"""
        self.run(script, css, value)

    def press(self, *names: str) -> None:
        """Press keys together, by their names or as text."""
        keys = [KEYS.get(name, name) for name in names]
        events = [{"type": "keyDown", "value": k} for k in keys] + [
            {"type": "keyUp", "value": k} for k in reversed(keys)
        ]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": events}]})

    def devtools(self, command: str, **arguments: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": arguments})

    def size(self, width: int, height: int) -> None:
        """Of what the page sees, in CSS pixels."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def prefers(self, **features: str) -> None:
        """Media features, as in ``color_scheme="dark"``."""
        named = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.devtools("Emulation.setEmulatedMedia", features=named)

    def picture(self, path: Path) -> None:
        """The whole page as a PNG file."""
        found = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(found["data"]))

    def log(self) -> list[str]:
        """What the console was told since this was last asked, warnings and errors."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]
