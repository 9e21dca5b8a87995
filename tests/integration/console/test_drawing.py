"""Rows are asked for, shown and saved; what is wrong stands beside its field."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

from tests.integration.console.browser import MARKS, Browser
from tests.integration.console.page import condition, open_page, table
from tests.integration.console.service import Service

pytestmark = MARKS


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
    told = browser.until("document.querySelector('#progress-text').textContent.includes('seed') && "
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
    before, drawn = -1, service.backend.drawn
    deadline = time.monotonic() + 20
    while drawn != before and time.monotonic() < deadline:
        time.sleep(1)
        before, drawn = drawn, service.backend.drawn
    assert drawn == before and drawn < 20_000
