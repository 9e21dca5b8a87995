"""The console in a browser, on the real service: its sampler, its monitor and releases, in this process and without Ray."""

from __future__ import annotations

import csv
import dataclasses
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from serving.api import create
from serving.catalogue import Version
from serving.desk import Desk
from serving.keys import edit
from serving.monitor.monitor import Monitor
from serving.replica import Loaded
from serving.settings import Settings
from serving.stream import Drawn, Piece
from synth.data.conditions import Wanted, parse
from synth.data.schema import Column, Schema
from synth.evaluation.details import reference
from synth.evaluation.frame import Lens
from tests.integration.browser import Browser, lacking
from tests.serving.releases import LocalBackend, people, publish

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(lacking()), reason=f"not installed here: {', '.join(lacking())}"),
]
MARKUP = "<img src=x onerror=alert(1)><b>Oslo</b>"


@pytest.fixture(scope="session", autouse=True)
def ray_session() -> None:
    """Nothing here needs Ray."""


class Watched(LocalBackend):
    """Has what was sent watched by the real monitor, at once, and the desk told."""

    def __init__(self) -> None:
        super().__init__()
        self.desk: Desk | None = None
        self.monitors: dict[str, Monitor] = {}

    def watch(self, version: Version, piece: Piece, drawn: Drawn) -> None:
        assert self.desk is not None
        name, release = str(version), self.desk.shelves[str(version)].manifest.id
        if name not in self.monitors:
            loaded = self.models[release]
            self.monitors[name] = Monitor(loaded.sampler, release, self.desk.folder, loaded.reference)
        alarm = self.monitors[name].see(drawn.batch, piece.text, 10.0)
        self.desk.watched(name, self.monitors[name].report())
        if alarm is not None:
            self.desk.raise_alarm(name, alarm)

    def watch_anew(self, version: Version) -> None:
        self.monitors[str(version)].reset()


@dataclasses.dataclass
class Service:
    desk: Desk
    backend: Watched
    address: str

    def post(self, path: str, body: dict[str, Any]) -> bytes:
        request = urllib.request.Request(
            f"{self.address}/v1/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
            return content


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Two versions, of which the second no longer draws what was certified."""
    folder = tmp_path_factory.mktemp("releases")
    return {1: str(publish(folder / "1")), 2: str(publish(folder / "2", collapsed=True))}


@pytest.fixture
def serve(releases: dict[int, str], tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts a service, whose version 1 of ``people`` has a certificate, in a thread at a port of its own."""
    running = []

    def start(**settings: Any) -> Service:
        served = {"people": {"versions": releases, "aliases": {"production": {1: 1}}}}
        document = {"generators": served, "state": str(tmp_path / "state"), "any_signer": True}
        desk, backend = Desk(Settings.check(document | settings, where="the test")), Watched()
        backend.desk = desk
        for shelf in desk.shelves.values():
            backend.models[shelf.manifest.id] = Loaded(shelf.version.place, shelf.manifest.id, any_signer=True)
        desk.shelves["people@1"].certificate = certificate(backend.models[desk.shelves["people@1"].manifest.id])
        app = create(desk, backend)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        return Service(desk, backend, f"http://127.0.0.1:{port}")

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


def certificate(loaded: Loaded) -> dict[str, Any]:
    """What the page reads of one: the reference, as certifying makes it."""
    real, sample, rng = people(), loaded.sampler.table(600, seed=5), np.random.default_rng(0)
    lens = Lens.fit(loaded.sampler.schema, {"real": real, "sample": sample})
    frames = [lens.view(table, "", rng)[0] for table in (real, sample)]
    return {"reference": {name: part.model_dump() for name, part in reference(lens, *frames).items()}}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """A page of 1280 by 900 that does not move by itself. Nothing but answers that are problems goes to its console."""
    chromium.size(1280, 900)
    chromium.prefers(color_scheme="light", reduced_motion="reduce")
    chromium.log()
    yield chromium
    told = [line for line in chromium.log() if "the server responded with a status of 4" not in line]
    chromium.go("about:blank")
    assert told == []


def open_page(browser: Browser, service: Service) -> None:
    browser.go(service.address)
    browser.until("document.querySelector('#columns-charts article')")


def condition(browser: Browser, number: int, column: str, operation: str) -> str:
    """Add a condition, and say where it is."""
    browser.click("#add")
    line = f"#clauses > li:nth-child({number})"
    browser.choose(f"{line} select[aria-label=Column]", column)
    browser.choose(f"{line} select[aria-label=Condition]", operation)
    return line


def table(browser: Browser) -> list[dict[str, str]]:
    """The rows that are shown."""
    found: list[dict[str, str]] = browser.run("""
        const names = [...document.querySelectorAll("#preview-table thead th")].map((th) => th.textContent);
        return [...document.querySelectorAll("#preview-table tbody tr")].map((tr) =>
          Object.fromEntries([...tr.children].map((cell, i) => [names[i], cell.textContent])));""")
    return found


def test_rows_under_conditions_are_shown_and_saved(
    browser: Browser, serve: Callable[..., Service], tmp_path: Path
) -> None:
    service = serve()
    open_page(browser, service)
    first = condition(browser, 1, "age", "between")
    browser.type(f"{first} input[aria-label=From]", "30")
    browser.type(f"{first} input[aria-label=To]", "50")
    second = condition(browser, 2, "city", "in")
    for city in ("Oslo", "Rome"):
        at = f"[...document.querySelectorAll('{second} label')].find((one) => one.textContent.includes('{city}'))"
        if not browser.run(f"return {at}.querySelector('input').checked"):
            browser.run(f"{at}.querySelector('input').click()")
    browser.type("#n", "300")
    browser.click("#show")
    browser.until("document.querySelectorAll('#preview-table tbody tr').length === 256")
    shown = table(browser)
    assert all(30 <= int(row["age"]) <= 50 and row["city"] in ("Oslo", "Rome") for row in shown)
    assert {row["city"] for row in shown} == {"Oslo", "Rome"}
    assert "The first 256 of 300 rows of people@1" in browser.text("#preview-told")
    assert "the 256 rows shown above" in browser.text("#columns-legend")

    browser.click("#download")  # of the same rows and those after them, though no seed was given
    told = browser.until("document.querySelector('#progress-text').textContent.includes('300 rows') && "
                         "document.querySelector('#progress-text').textContent")  # fmt: skip
    seed = int(told.rpartition("seed ")[2].rstrip("."))
    path = browser.downloads / f"people-{seed}.csv"
    for _ in range(100):
        if path.exists():
            break
        time.sleep(0.05)
    where = ["age>=30", "age<=50", "city in (Oslo, Rome)"]
    body = {"n": 300, "seed": seed, "where": where, "format": "csv"}
    assert path.read_bytes() == service.post("generators/people:production/samples", body)
    saved = list(csv.DictReader(path.open(newline="")))
    assert [row["age"] for row in saved[:256]] == [row["age"] for row in shown]
    assert browser.run("return document.activeElement.id") == "download"

    browser.click("#keep-seed")
    assert browser.run("return document.querySelector('#seed').value") == str(seed)
    assert f'"seed": {seed}' in browser.run("return document.querySelector('#command').textContent")


def test_every_operation_and_format_is_understood(browser: Browser, serve: Callable[..., Service]) -> None:
    open_page(browser, serve())
    line = condition(browser, 1, "member", "=")
    browser.choose(f"{line} select[aria-label=Value]", "true")
    missing = condition(browser, 2, "pay", "missing")
    browser.choose("#balance", "city")
    browser.click("#show")
    browser.until("document.querySelectorAll('#preview-table tbody tr').length === 100")
    shown = table(browser)
    assert {(row["member"], row["pay"]) for row in shown} == {("true", "missing")}
    cities = [row["city"] for row in shown]
    assert all(
        20 <= cities.count(city) <= 50 for city in ("Bonn", "Oslo", "Rome")
    )  # by itself, Bonn is two thirds of them
    assert "_weight" in shown[0]
    browser.click(f"{missing} button")
    assert browser.run("return document.activeElement.id") == "add"
    browser.choose("#balance", "")
    browser.type("#seed", str(2**53 + 1))  # which a number of JavaScript's is not
    for format in ("parquet", "arrow", "ndjson", "json"):
        browser.choose("#format", format)
        browser.click("#download")
        told = f".{format}: 100 rows"
        browser.until("document.querySelector('#progress-text').textContent.includes(arguments[0])", told)
        assert f"seed {2**53 + 1}." in browser.text("#progress-text")


def test_alarm_is_seen_with_what_went_missing_and_is_acknowledged(
    browser: Browser, serve: Callable[..., Service]
) -> None:
    service = serve()
    open_page(browser, service)
    assert "all healthy" in browser.text("#lead")
    browser.choose("#from", "people@2")
    browser.type("#n", "3000")
    browser.click("#download")
    browser.until("document.querySelector('.alarm')")
    alarm = service.desk.shelves["people@2"].alarm
    assert alarm is not None
    assert "people@2 no longer draws what was certified" in browser.text(".alarm h3")
    assert "people@2" in browser.run("return document.querySelector('#warned').textContent")
    for change in alarm["changes"]:
        kind, _, shares = change.rpartition(": ")
        assert kind in browser.text(".alarm") and shares.partition("%")[0] in browser.text(".alarm")
    assert "just now" in browser.text(".alarm .head")
    assert "▲ 1 with an alarm" in browser.run("return document.title")
    browser.choose("#watched", "people@2")
    figures = browser.run("return [...document.querySelectorAll('#trends svg')].map((one) => one.ariaLabel)")
    assert len(figures) == 8 and any(figure.startswith("Coverage: ") for figure in figures)
    assert browser.run("return document.querySelectorAll('#trends .alarmed').length") == 8

    browser.click("[id='acknowledge-people@2']")
    assert browser.run("return document.querySelector('#ask').open")
    browser.click("#ask-no")
    assert service.desk.shelves["people@2"].alarm is not None
    browser.click("[id='acknowledge-people@2']")
    browser.click("#ask-yes")
    browser.until("!document.querySelector('.alarm')")
    assert service.desk.shelves["people@2"].alarm is None
    assert "healthy again" in browser.run("return document.querySelector('#said').textContent")


def test_aliases_are_changed_after_being_asked_once_more(browser: Browser, serve: Callable[..., Service]) -> None:
    service = serve()
    aliases = service.desk.catalogue.aliases["people"]
    open_page(browser, service)
    browser.click("[id='share-people:production']")
    browser.type("#ask-share-1", "70")
    browser.type("#ask-share-2", "20")
    browser.click("#ask-yes")
    assert "the shares sum to 90 %" in browser.text("#ask-wrong")
    browser.type("#ask-share-2", "30")
    browser.click("#ask-yes")
    assert "version 1 (70 %), version 2 (30 %)" in browser.text("#ask-body")
    assert aliases["production"] == {1: 1}
    browser.press("Escape")
    assert not browser.run("return document.querySelector('#ask').open")
    assert browser.run("return document.activeElement.id") == "share-people:production"

    browser.click("[id='promote-people@2']")
    browser.click("#ask-yes")
    browser.click("#ask-yes")
    browser.until("document.querySelector('.aliases').innerText.includes('version 2')")
    assert aliases["production"] == {2: 1}
    assert browser.run("return document.activeElement.id") == "promote-people@2"
    browser.until("document.querySelector('#columns-lead').textContent.includes('people@2')")

    browser.click("[id='back-people:production']")
    browser.click("#ask-yes")
    browser.until("document.querySelector('.aliases').innerText.includes('version 1')")
    assert aliases["production"] == {1: 1}
    browser.click("[id='back-people:production']")
    browser.click("#ask-yes")
    assert "has not been changed" in browser.until("document.querySelector('#ask-wrong').textContent")
    browser.click("#ask-no")

    browser.click("#new-people")
    browser.type("#ask-name", "Trial!")
    browser.type("#ask-share-2", "100")
    browser.click("#ask-yes")
    assert "lower-case" in browser.text("#ask-wrong")
    browser.type("#ask-name", "trial")
    browser.click("#ask-yes")
    browser.click("#ask-yes")
    browser.until("[...document.querySelector('#from').options].some((one) => one.value === 'people:trial')")
    assert aliases["trial"] == {2: 1}


def test_problems_stand_beside_their_fields(browser: Browser, serve: Callable[..., Service]) -> None:
    open_page(browser, serve(limits={"rows": 5_000}))

    def wrong(field: str, press: str = "#show") -> str:
        browser.click(press)
        told: str = browser.until("document.querySelector(arguments[0]).textContent", f"{field}-wrong")
        assert browser.run("return document.activeElement.getAttribute('aria-describedby')") == f"{field[1:]}-wrong"
        assert browser.run("return document.activeElement.hasAttribute('aria-invalid')")
        return told

    browser.type("#n", "0")
    assert "greater than or equal to 1" in wrong("#n")
    browser.type("#n", "many")
    assert '"many"' in wrong("#n")
    browser.type("#n", "6000")
    assert "at most 5,000 rows; have a job draw them" in wrong("#n", "#download")
    browser.type("#n", "10")
    browser.type("#seed", "-1")
    assert "-1" in wrong("#seed")
    browser.type("#seed", "")
    line = condition(browser, 1, "age", ">")
    browser.click("#show")
    assert "a value is missing" in browser.text(f"{line} .wrong")
    browser.type(f"{line} input", "900")
    browser.click("#show")
    told = browser.until(f"document.querySelector('{line} .wrong').textContent.includes('900') && "
                         f"document.querySelector('{line} .wrong').textContent")  # fmt: skip
    assert "age>900" in told
    assert browser.run("return document.querySelector('#n-wrong').hidden")
    browser.type(f"{line} input", "40")
    browser.click("#show")
    browser.until("document.querySelectorAll('#preview-table tbody tr').length === 10")
    assert browser.run("return document.querySelectorAll('.wrong:not([hidden])').length") == 0


def test_download_is_cancelled_and_costs_no_more(browser: Browser, serve: Callable[..., Service]) -> None:
    service = serve()
    open_page(browser, service)
    service.backend.slow = 0.3
    browser.type("#n", "100000")
    browser.click("#download")
    browser.until("document.querySelector('#progress-text').textContent.includes('of 100,000 rows')")
    assert browser.run("return document.activeElement.id") == "cancel"
    browser.press("Enter")
    browser.until("document.querySelector('#progress-text').textContent.startsWith('Cancelled')")
    assert browser.run("return document.activeElement.id") == "download"
    assert not list(browser.downloads.glob("*100000*"))
    time.sleep(1)
    drawn = service.backend.drawn
    time.sleep(0.5)
    assert service.backend.drawn == drawn < 20_000


def test_it_works_with_a_keyboard_alone(browser: Browser, serve: Callable[..., Service]) -> None:
    open_page(browser, serve())
    look = """const at = document.activeElement, style = getComputedStyle(at);
        return {id: at.id || at.getAttribute("href") || at.tagName, ring: style.outlineStyle, y: at.getBoundingClientRect().y
          + scrollY, shown: at.getBoundingClientRect().bottom > 0 && at.getBoundingClientRect().top < innerHeight}"""
    browser.press("Tab")
    assert browser.run(look)["id"] == "#main"
    browser.press("Enter")
    assert browser.run(look)["id"] == "main"  # where it skips to
    stops = []
    for _ in range(60):
        browser.press("Tab")
        stops.append(browser.run(look))
        if stops[-1]["id"] in ("BODY", "openapi.json"):
            break
    names = [stop["id"] for stop in stops]
    assert names[-1] == "openapi.json", "the keyboard gets through to the end"
    assert all(stop["ring"] not in ("none", "hidden") and stop["shown"] for stop in stops)
    form = ["from", "n", "seed", "add", "balance", "format", "show", "download"]
    assert [name for name in names if name in form] == form
    assert [stop["y"] for stop in stops if stop["id"] in form] == sorted(
        stop["y"] for stop in stops if stop["id"] in form
    )

    browser.run("document.querySelector('#add').focus()")
    browser.press("Enter")
    assert browser.run(look)["id"].endswith("-column")
    browser.press("Tab")
    browser.press("Tab")
    for digit in "40":
        browser.press(digit)
    browser.press("Enter")  # asks for rows
    browser.until("document.querySelector('#preview-table td')")
    assert all(int(row["age"]) >= 40 for row in table(browser))

    browser.run("document.getElementById('promote-people@2').focus()")
    browser.press("Enter")
    inside = set()
    for _ in range(8):
        browser.press("Tab")
        inside.add(
            browser.run(
                "return document.activeElement.closest('#ask') !== null || document.activeElement === document.body"
            )
        )
    assert inside == {True}  # nothing behind the dialog
    browser.press("Escape")
    assert browser.run(look)["id"] == "promote-people@2"


def test_it_fits_a_phone_and_says_what_it_shows(browser: Browser, serve: Callable[..., Service]) -> None:
    service = serve()
    service.post("generators/people@2/samples", {"n": 2_000})  # raises the alarm
    browser.size(360, 740)
    open_page(browser, service)
    browser.until("document.querySelector('.alarm')")
    for number, (column, operation) in enumerate([("age", "between"), ("city", "in")], start=1):
        condition(browser, number, column, operation)
    for line in ("#clauses > li:nth-child(1) input", "#clauses > li:nth-child(1) input[aria-label=To]"):
        browser.type(line, "40")
    if not browser.run("return document.querySelector('#clauses :checked')"):
        browser.click("#clauses input[type=checkbox]")
    browser.click("#show")
    browser.until("document.querySelector('#preview-table td')")
    browser.click("#script summary")
    wide = "document.scrollingElement.scrollWidth"
    assert browser.run(f"return {wide}") <= 360
    beyond = browser.run("""return [...document.querySelectorAll("main *")].filter((one) =>
        one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll, svg, .unseen"))
        .map((one) => one.outerHTML)""")
    assert beyond == []
    browser.click("[id='share-people:production']")
    assert browser.run("const box = document.querySelector('#ask').getBoundingClientRect();"
                       "return box.left >= 0 && box.right <= innerWidth")  # fmt: skip
    browser.press("Escape")
    nameless = browser.run("""return [...document.querySelectorAll("input, select, button, svg, [role=region]")].filter((one) =>
        !(one.labels?.length || one.ariaLabel || one.getAttribute("aria-labelledby") || one.textContent.trim()))
        .map((one) => one.outerHTML)""")
    assert nameless == []
    lost = browser.run("""return [...document.querySelectorAll("[aria-describedby], [aria-labelledby], [for], [list]")].flatMap(
        (one) => ["aria-describedby", "aria-labelledby", "for", "list"].flatMap((name) =>
          (one.getAttribute(name) ?? "").split(" ").filter((id) => id && !document.getElementById(id))))""")
    assert lost == []


def test_what_looks_like_markup_is_text(browser: Browser, serve: Callable[..., Service]) -> None:
    service = serve()
    shelf = service.desk.shelves["people@1"]
    assert shelf.certificate is not None
    shelf.certificate["reference"]["city"]["labels"][0] = MARKUP
    shelf.alarm = {"at": time.time(), "detector": "kinds", "rows": 9, "changes": [
        f"city = {MARKUP}: 0.00% of the rows, certified 1.00%", MARKUP,
    ]}  # fmt: skip
    open_page(browser, service)
    browser.until("document.querySelector('.alarm')")
    line = condition(browser, 1, "city", "=")
    assert MARKUP in browser.run(f"return document.querySelector('{line} [aria-label=Value]').textContent")
    assert browser.text(".alarm").count(MARKUP) == 2
    assert browser.run("return document.querySelectorAll('main img, main b b, main script').length") == 0
    refused = browser.run(
        "try { document.body.innerHTML = '<b>x</b>'; return false } catch (error) { return error.name }"
    )
    assert refused == "TypeError"  # whatever a script does, the browser makes no HTML of text
    browser.log()  # says so


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """Tokens by the names of their keys."""
    now, tokens = datetime.now(UTC), {}
    path = tmp_path / "keys.yaml"
    for name, rights in {
        "Ana": {"generators": ["people"], "admin": True}, "Bo": {"generators": ["people@1"], "rows_per_day": 150},
    }.items():  # fmt: skip
        tokens[name] = edit(
            path, lambda old, name=name, rights=rights: old.add(name=name, now=now, **rights), create=True
        )
    return tokens


def test_key_opens_what_it_may_and_is_kept_in_the_tab(
    browser: Browser, serve: Callable[..., Service], keys: dict[str, str], tmp_path: Path
) -> None:
    service = serve(keys=str(tmp_path / "keys.yaml"))
    browser.go(service.address)
    browser.until("!document.querySelector('#key-form').hidden && !document.querySelector('#key').hidden")
    assert browser.run("return document.querySelector('#console').hidden")
    browser.type("#token", "art_of_guessing")
    browser.press("Enter")
    assert "not known here" in browser.until("document.querySelector('#key-wrong').textContent")
    browser.type("#token", keys["Bo"])
    browser.press("Enter")
    browser.until("document.querySelector('#columns-charts article')")
    assert browser.run("return document.querySelector('#token').value") == ""
    assert "Bo" in browser.text("#mine") and "150 rows" in browser.text("#mine")
    assert browser.run("return [...document.querySelector('#from').options].map((one) => one.value)") == ["people@1"]
    assert browser.run("return document.querySelectorAll('#releases button').length") == 0  # may change nothing
    browser.type("#n", "100")
    browser.click("#show")
    browser.until("document.querySelector('#preview-table td')")
    browser.click("#show")
    assert "50 left" in browser.until("document.querySelector('#draw-wrong').textContent")
    browser.until("document.querySelector('#rights').textContent.includes('50 rows')")
    kept = browser.run(
        "return [location.href, localStorage.length, document.cookie, document.documentElement.outerHTML]"
    )
    assert kept[0] == f"{service.address}/" and kept[1] == 0 and kept[2] == "" and keys["Bo"] not in kept[3]
    browser.go(service.address)
    browser.until("document.querySelector('#columns-charts article')")  # it is still there in this tab
    browser.click("#forget")
    browser.until("!document.querySelector('#key-form').hidden")
    assert browser.run("return [sessionStorage.length, document.querySelector('#console').hidden]") == [0, True]
    browser.type("#token", keys["Ana"])
    browser.press("Enter")
    browser.until("document.querySelector('[id=\"promote-people@2\"]')")
    assert "administrator" in browser.text("#mine")


def test_service_that_goes_away_is_told_of(browser: Browser, serve: Callable[..., Service]) -> None:
    open_page(browser, serve())
    browser.run("window.fetch = () => Promise.reject(new TypeError('gone'))")
    assert "does not answer" in browser.until("document.querySelector('#lost').textContent")
    browser.click("#show")
    assert "does not answer" in browser.until("document.querySelector('#draw-wrong').textContent")


def test_clauses_are_read_as_they_were_meant(browser: Browser, serve: Callable[..., Service]) -> None:
    browser.go(serve().address)
    names = [
        "age",
        "age in",
        "education",
        "education.num",
        "it's",
        'the "x"',
        "a b",
        "a<b",
        "is",
        "missing",
        "Größe",
        "x,y",
        "(z)",
    ]
    values = [
        "Rome", "a b", "a, b", "it's", 'say "so"', "'quoted'", '"quoted"', "=x", "<=50K", ">50K", "(b)", "x)", "in (a)",
        "ünï", "a  b", "is missing", "1e5", "-3", "line\nend", "\\n", "🙂", '"', "'", "%", "#",
    ]  # fmt: skip
    schema = Schema(columns=[Column(name=name, kind="categorical", dtype="string", nullable=True) for name in names])
    script = """const {clauses} = await import("/console/clauses.js");
        return arguments[0].map(([name, operation, values]) => clauses(name, arguments[1], operation, values));"""
    asked = [(n, o, [v]) for n in names for o in ("=", "!=") for v in values]
    asked += [(n, o, values) for n in names for o in ("in", "not in")]
    asked += [(n, o, [a, b]) for n in names[:2] for o in ("in", "not in") for a in values for b in values]
    asked += [(n, o, []) for n in names for o in ("missing", "known")]
    for (name, operation, chosen), texts in zip(asked, browser.run(script, asked, names), strict=True):
        some = frozenset(chosen)
        meant = {
            "=": Wanted(names=some, missing=False), "in": Wanted(names=some, missing=False),
            "!=": Wanted(other_than=some, missing=False), "not in": Wanted(other_than=some, missing=False),
            "missing": Wanted(ranges=(), names=frozenset()), "known": Wanted(missing=False),
        }[operation]  # fmt: skip
        assert parse(texts, schema) == {name: meant}, texts


def test_charts_show_the_shares_that_there_are(browser: Browser, serve: Callable[..., Service]) -> None:
    browser.go(serve().address)
    rng = np.random.default_rng(0)
    script = """const {marginal} = await import("/console/marginals.js"); return marginal(...arguments);"""

    def shown(values: np.ndarray, decimals: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        quantiles = np.quantile(values, np.linspace(0, 1, 101)).tolist()
        column = {"name": "x", "kind": "numerical", "dtype": "double", "decimals": decimals}
        certified = {
            "labels": None,
            "real": quantiles,
            "synthetic": quantiles,
            "missing_real": 0,
            "missing_synthetic": 0,
        }
        found = browser.run(script, column, certified, values.tolist())
        edges = np.array(found["edges"])
        parts = [np.array(found["shares"][name]) for name in ("real", "drawn")]
        for part in parts:
            assert part.sum() == pytest.approx(1) and part.min() >= 0
        true = np.histogram(np.clip(values, edges[0], np.nextafter(edges[-1], edges[0])), edges)[0] / len(values)
        return true, *parts

    spikes = np.where(rng.random(5_000) < 0.7, 0.0, rng.exponential(size=5_000))  # most of it at one value, on an edge
    for values, decimals in (
        (rng.normal(size=5_000), None), (rng.integers(0, 100, 5_000).astype(float), 0),
        (rng.integers(3, 8, 5_000).astype(float), 0), (spikes, None), (np.full(50, 4.0), None), (np.full(50, 4.0), 0),
    ):  # fmt: skip
        true, real, drawn = shown(values, decimals)
        np.testing.assert_allclose(drawn, true, atol=1e-9)
        np.testing.assert_allclose(real, true, atol=0.0201)  # two ends of a bin, a hundredth each

    column = {"name": "c", "kind": "categorical", "dtype": "int64", "decimals": None}
    certified = {
        "labels": ["1.0", "2.0"],
        "real": [0.5, 0.3],
        "synthetic": [0.6, 0.2],
        "missing_real": 0.2,
        "missing_synthetic": 0.1,
    }
    found = browser.run(script, column, certified, [1, 1, 2, None, 7])
    assert found["labels"] == ["1.0", "2.0", "all others", "missing"]
    np.testing.assert_allclose(found["shares"]["real"], [0.5, 0.3, 0, 0.2], atol=1e-9)
    np.testing.assert_allclose(found["shares"]["synthetic"], [0.6, 0.2, 0.1, 0.1], atol=1e-9)
    np.testing.assert_allclose(found["shares"]["drawn"], [0.4, 0.2, 0.2, 0.2], atol=1e-9)
