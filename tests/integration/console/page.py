"""What a person does on the console's page, and sees there."""

from __future__ import annotations

from tests.integration.console.browser import Browser
from tests.integration.console.service import Service


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
