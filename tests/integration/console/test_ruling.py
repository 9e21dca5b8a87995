"""Alarms, aliases and keys: who sees what is wrong and changes what is served."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serving.key_file import edit
from tests.integration.console.browser import MARKS, Browser
from tests.integration.console.page import open_page
from tests.integration.console.service import Service

pytestmark = MARKS


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
