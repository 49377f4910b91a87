"""Every page renders from its view alone, escapes what people wrote, and works as plain HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from broker.web.pages import render
from broker.web.views import Frame, Link, View
from sulku.people import Role
from tests.web.pages.samples import DATASET, NOW, PAGES, v


def frame(role: str = "", path: str = "/") -> Frame:
    nav = tuple(Link(text, href) for text, href in render.NAV[Role(role or "public")])
    return Frame(path, NOW, "Maria Lind" if role else "", role or "public", (role, "auditor") if role else (), nav, True, bool(role))


def drawn(name: str) -> str:
    role, view = PAGES[name]
    return render.html(view, frame(role))


class Outline(HTMLParser):
    """What a browser would find: tags, ids, labels, and what is left open."""

    VOID = frozenset({"meta", "link", "input", "br", "img", "hr", "path", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.seen if tag in tags]


@pytest.mark.parametrize("name", PAGES)
class TestEveryPage:
    def test_is_well_formed_with_one_heading_and_unique_ids(self, name: str) -> None:
        page = Outline(drawn(name))
        assert page.open == []
        assert len(page.all("h1")) == 1
        identifiers = [attrs["id"] for _, attrs in page.seen if "id" in attrs]
        assert len(identifiers) == len(set(identifiers))

    def test_holds_nothing_that_the_content_policy_forbids(self, name: str) -> None:
        page = Outline(drawn(name))
        assert not [attrs for _, attrs in page.seen if any(key == "style" or key.startswith("on") for key in attrs)]
        assert page.all("style") == []
        assert [script["src"] for script in page.all("script")] == ["/static/app.js"]

    def test_names_every_field_and_every_problem_has_its_field(self, name: str) -> None:
        page = Outline(drawn(name))
        labelled = {label["for"] for label in page.all("label")}
        fields = [field for field in page.all("input", "select", "textarea") if field.get("type") != "hidden"]
        assert {field["id"] for field in fields} <= labelled
        identifiers = {attrs["id"] for _, attrs in page.seen if "id" in attrs}
        assert {link["href"][1:] for link in page.all("a") if (link["href"] or "").startswith("#")} <= identifiers

    def test_says_in_the_title_that_there_is_a_problem(self, name: str) -> None:
        title = re.search(r"<title>(.*?)</title>", drawn(name))
        assert title
        assert title[1].startswith("Error: ") == bool(getattr(PAGES[name][1], "errors", ()))

    def test_never_links_to_nowhere(self, name: str) -> None:
        assert "" not in [link["href"] for link in Outline(drawn(name)).all("a") if name != "release"]


def test_what_people_wrote_is_text() -> None:
    evil = '<script>alert("1")</script>'
    page = render.html(v.DatasetPage(replace(DATASET, title=evil, terms=evil, description=evil), DATASET.editions[0]), frame())
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;" in page


def test_an_unknown_name_in_a_template_is_an_error() -> None:
    with pytest.raises(Exception, match="no attribute"):
        render.ENVIRONMENT.from_string("{{ v.nothing.of_the_kind }}").render(v=View())


def test_a_practice_installation_says_so_on_every_page() -> None:
    assert "practice installation" in render.html(PAGES["front"][1], frame())
    assert "practice installation" not in render.html(PAGES["front"][1], replace(frame(), practice=False))


def test_sizes_and_spans_read_as_people_say_them() -> None:
    assert [render.size(n) for n in (0, 1024, 200 * 2**20, 1536)] == ["0 bytes", "1 KiB", "200 MiB", "1.5 KiB"]
    assert [render.span(n) for n in (1, 60, 5400, 3 * 86400)] == ["1 second", "1 minute", "1 hour 30 minutes", "3 days"]


def test_a_cell_of_a_csv_file_is_never_a_formula() -> None:
    text = render.rows_as_csv("x", ("a",), (("=cmd()",), ("plain",))).body.decode()
    assert text.splitlines() == ["a", "'=cmd()", "plain"]
