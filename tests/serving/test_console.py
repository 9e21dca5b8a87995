from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving import problems, routes_pages
from serving.monitor.trends import MEANING
from serving.routes_pages import FILES, PAGE

SCRIPTS = sorted(name for name in FILES if name.endswith(".js"))
CSS = FILES["console.css"][0].decode()
REFERRING = {"for", "aria-labelledby", "aria-describedby", "aria-controls", "list", "form"}


def text(name: str) -> str:
    return FILES[name][0].decode()


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI(docs_url=None, redoc_url=None)
    problems.install(app)
    app.include_router(routes_pages.router)
    return TestClient(app, raise_server_exceptions=False)


class Tags(HTMLParser):
    """Every start tag of the page with its attributes, and what stands in scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside = ""
        self.feed(text(PAGE))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.inside += data.strip()

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", {}))


TAGS = Tags()
IDS = [str(attributes["id"]) for _, attributes in TAGS.tags if "id" in attributes]


@pytest.mark.parametrize("path", ["/", *(f"/console/{name}" for name in FILES if name != PAGE)])
def test_page_and_assets_come_with_headers_that_bind_the_browser(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data:",
        "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }  # fmt: skip
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}.get(
        path.rpartition(".")[2], "text/html"
    )
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert client.head(path).headers["content-length"] == str(len(answer.content))


def test_what_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/").headers["etag"]
    again = client.get("/", headers={"If-None-Match": tag})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == tag
    assert client.get("/", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/console/", "/console/other.js", "/console/index.html", "/console/..%2fapi.py", "/console/%2e%2e/api.py",
        "/console/%2e%2e%2fapi.py", "/console/console.js/", "/console/console.js%00", "/console//etc/passwd",
        "/console/CONSOLE.JS", "/console/..%5capi.py", "/api.py",
    ],
)  # fmt: skip
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    answer = client.get(path, follow_redirects=False)
    assert answer.status_code in (404, 307)  # 307: to the same name without the slash, where it is served
    if answer.status_code == 307:
        assert answer.headers["location"].endswith("/console/console.js")
    else:
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_document_is_a_page_that_takes_all_from_this_service(client: TestClient) -> None:
    found = client.get("/docs")
    assert found.status_code == 200 and "'none'" in found.headers["content-security-policy"]
    linked = re.findall(r'(?:src|href)="([^"]+)"', found.text)
    assert len(linked) == 5 and "docs/swagger-ui-bundle.js" in linked
    for target in linked:
        assert client.get(f"/{target}").status_code == 200, target
    assert client.get("/docs/docs.html").status_code == 404


def test_pages_are_no_part_of_the_interface(client: TestClient) -> None:
    assert client.get("/openapi.json").json()["paths"] == {}
    assert client.post("/").status_code == 405


def test_nothing_refers_to_another_host() -> None:
    for name in FILES:
        addresses = set(re.findall(r"""(?:\w+:|(?<=["'(`]))//[^\s"')`]+""", text(name)))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name  # a namespace, which nobody fetches
    assert "@import" not in CSS and "url(" not in CSS
    for tag, attributes in TAGS.tags:
        for place in ("src", "href"):
            target = attributes.get(place)
            assert target is None or re.fullmatch(r"#[a-z]+|docs|openapi\.json|console/[a-z]+\.(js|css|svg)", target), (
                tag
            )
            if target is not None and target.startswith("console/"):
                assert target.removeprefix("console/") in FILES
    for name in SCRIPTS:
        modules = re.findall(r'^import .*"([^"]+)";$', text(name), re.MULTILINE)
        assert len(modules) == len(re.findall(r"\bimport\b", text(name)))
        assert all(module.startswith("./") and module[2:] in FILES for module in modules), name


def test_no_script_or_style_stands_in_the_page() -> None:
    assert TAGS.inside == ""
    assert [attributes.get("src") for tag, attributes in TAGS.tags if tag == "script"] == ["console/console.js"]
    assert not any(tag == "style" for tag, _ in TAGS.tags)
    for _, attributes in TAGS.tags:
        assert not any(name == "style" or name.startswith("on") for name in attributes)


def test_what_the_service_says_is_never_read_as_html() -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\(|new Function|javascript:"
    for name in SCRIPTS:
        assert not re.search(sinks, text(name)), name


def test_the_key_is_kept_in_the_tab_alone() -> None:
    for name in SCRIPTS:
        assert not re.search(
            r"localStorage|document\.cookie|indexedDB|history\.|location\.(search|hash)", text(name)
        ), name
        assert ("sessionStorage" in text(name)) == (name == "service.js")
    [token] = [attributes for _, attributes in TAGS.tags if attributes.get("id") == "token"]
    assert token["type"] == "password" and token["autocomplete"] == "off" and "name" not in token


def test_every_id_that_is_referred_to_is_there_once() -> None:
    assert len(IDS) == len(set(IDS))
    for _, attributes in TAGS.tags:
        for name in REFERRING & attributes.keys():
            assert set(str(attributes[name]).split()) <= set(IDS), attributes
        if str(attributes.get("href", "")).startswith("#"):
            assert str(attributes["href"])[1:] in IDS
    for name in SCRIPTS:
        assert set(re.findall(r'byId\("([^"]+)"\)', text(name))) <= set(IDS), name


def test_every_control_of_the_page_has_a_name() -> None:
    labelled = {attributes["for"] for tag, attributes in TAGS.tags if tag == "label"}
    for tag, attributes in TAGS.tags:
        if tag in ("input", "select", "progress"):
            assert attributes["id"] in labelled, attributes
        if tag in ("section", "dialog"):
            assert "aria-labelledby" in attributes


def test_page_speaks_a_language_has_one_heading_and_headings_in_order() -> None:
    assert ("html", {"lang": "en"}) in TAGS.tags
    levels = [int(tag[1]) for tag, _ in TAGS.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_figure_of_the_monitor_has_a_title() -> None:
    named = set(re.findall(r"^  (\w+): \[", text("trends.js"), re.MULTILINE))
    assert named == set(MEANING)


def colours() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return {name: dict(re.findall(r"--(\w+): (#\w+)", part)) for name, part in (("light", light), ("dark", dark))}


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's ratio of the luminances of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_what_aa_asks_for() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for scheme, colour in colours().items():
        for front in ("ink", "soft", "good", "worse", "synthetic"):
            also = {"ink": ("alarm", "tint"), "soft": ("alarm", "tint"), "worse": ("alarm",)}.get(front, ())
            for back in ("paper", "card", *also):
                assert contrast(colour[front], colour[back]) >= 4.5, (scheme, front, back)
        assert contrast(colour["on"], colour["synthetic"]) >= 4.5, scheme
        for front in ("edge", "real", "drawn", "synthetic", "worse"):
            assert contrast(colour[front], colour["card"]) >= 3, (scheme, front)
