"""The page for everybody: by keyboard alone, on a phone, read aloud, whatever names hold, and without an answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.integration.console.browser import MARKS, Browser
from tests.integration.console.page import condition, open_page, table
from tests.integration.console.service import Service

pytestmark = MARKS


MARKUP = "<img src=x onerror=alert(1)><b>Oslo</b>"


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


def test_service_that_goes_away_is_told_of(browser: Browser, serve: Callable[..., Service]) -> None:
    open_page(browser, serve())
    browser.run("window.fetch = () => Promise.reject(new TypeError('gone'))")
    assert "does not answer" in browser.until("document.querySelector('#lost').textContent")
    browser.click("#show")
    assert "does not answer" in browser.until("document.querySelector('#draw-wrong').textContent")


def test_the_interface_is_a_page_where_it_can_be_tried(browser: Browser, serve: Callable[..., Service]) -> None:
    browser.go(f"{serve().address}/docs")
    browser.until("document.querySelectorAll('.opblock').length > 10")
    assert "Artesian" in browser.run("return document.querySelector('.title').textContent")
    ready = "document.querySelector('[id$=readyz_readyz_get] {}')".format
    browser.run(f"{ready('.opblock-summary-control')}.click()")
    browser.until(ready(".execute"))
    browser.run(f"{ready('.execute')}.click()")
    browser.until(ready(".live-responses-table tbody .response-col_status"))
    assert browser.run(f"return {ready('.live-responses-table tbody .response-col_status')}.textContent").startswith(
        "200"
    )
