"""Sees to it that the site can be read without a network: ``python docs/_make/offline.py SITE``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit


class _Loads(HTMLParser):
    """What a browser fetches by itself; links that a reader may follow are not among it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = "href" if tag == "link" else "src"
        self.found += [value for key, value in attrs if key == name and value and urlsplit(value).netloc]


def loads(site: Path) -> Iterator[str]:
    """Addresses on other hosts, each with the page or style sheet that loads it."""
    for page in sorted(site.rglob("*.html")):
        parser = _Loads()
        parser.feed(page.read_text("utf-8"))
        yield from (f"{page}: {address}" for address in parser.found)
    for sheet in sorted(site.rglob("*.css")):
        if "url(http" in sheet.read_text("utf-8") or "@import" in sheet.read_text("utf-8"):
            yield f"{sheet}: loads something"


if __name__ == "__main__":
    site = Path(sys.argv[1])
    sys.exit("\n".join(loads(site)) or None if any(site.rglob("*.html")) else "there is no site")
