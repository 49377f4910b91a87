"""A browser without scripts: reads a page, fills a form with what the form itself holds, presses its button, follows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser

import httpx2


@dataclass
class Form:
    """One form as it was served: where it goes, and every value that it would send."""

    action: str
    method: str
    values: list[tuple[str, str]] = field(default_factory=list)
    buttons: str = ""


class _Forms(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._area = self._select = ""
        self._text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(given.get("action", ""), given.get("method", "get"))
            self.forms.append(self._form)
        elif self._form and tag == "input":
            ticked = given.get("type") not in {"radio", "checkbox"} or "checked" in given
            if ticked and given.get("name"):
                self._form.values.append((given["name"], given.get("value", "on")))
        elif self._form and tag == "textarea":
            self._area, self._text = given["name"], ""
        elif self._form and tag == "select":
            self._select = given["name"]
        elif self._form and tag == "option" and self._select and "selected" in given:
            self._form.values.append((self._select, given.get("value", "")))

    def handle_data(self, data: str) -> None:
        if self._area:
            self._text += data
        elif self._form:
            self._form.buttons += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = ""
        elif tag == "textarea" and self._form:
            self._form.values.append((self._area, self._text))
            self._area = ""


@dataclass
class Paper:
    """One person's browser."""

    http: httpx2.Client
    answer: httpx2.Response | None = None

    def get(self, path: str) -> Paper:
        """Open a page and follow redirects."""
        self.answer = self.http.get(path)
        while self.answer.status_code in {302, 303, 307} and self.answer.headers["location"].startswith("/"):
            self.answer = self.http.get(self.answer.headers["location"])
        return self

    def press(self, button: str, fields: Mapping[str, str | list[str]] | None = None) -> Paper:
        """Fill the form that has ``button`` and send it."""
        form = next(one for one in _Forms(self.html).forms if button in one.buttons)
        fields = fields or {}
        sent: dict[str, list[str]] = {}
        for name, value in form.values:
            if name not in fields:
                sent.setdefault(name, []).append(value)
        sent |= {name: [value] if isinstance(value, str) else value for name, value in fields.items()}
        self.answer = self.http.post(form.action, data=sent)
        return self.get(self.answer.headers["location"]) if self.answer.status_code == 303 else self

    def follow(self, text: str) -> Paper:
        """Press the link that reads ``text``."""
        links = re.findall(r'<a [^>]*?href="([^"]+)"[^>]*>(.*?)</a>', self.html, re.DOTALL)
        read = [(unescape(re.sub(r"<[^>]+>", "", inner)).strip(), unescape(href)) for href, inner in links]
        exact = [href for said, href in read if said == text]
        return self.get([*exact, *(href for said, href in read if text in said)][0])

    @property
    def html(self) -> str:
        """The page as it was served."""
        assert self.answer is not None
        return self.answer.text

    @property
    def text(self) -> str:
        """What a person reads on it."""
        inner = re.sub(r"<(script|style|head)\b.*?</\1>", "", self.html, flags=re.DOTALL)
        return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", inner)))

    @property
    def status(self) -> int:
        """The page's status."""
        assert self.answer is not None
        return self.answer.status_code

    @property
    def path(self) -> str:
        """The page's path."""
        assert self.answer is not None
        return self.answer.url.path
