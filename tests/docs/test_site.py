"""The site is built of the pages as they stand, without a warning or a network, and its links lead somewhere."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from docs.code_links import LINK, ROOT


class Parts(HTMLParser):
    """What a page links and loads, and the places in it that can be linked."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in ("script", "img", "link", "iframe"):
            self.loaded += [given[name] for name in ("src", "href") if name in given]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Parts]:
    """The pages of the site, by where they stand; a proxy that is not there stands for no network."""
    out = tmp_path_factory.mktemp("site")
    command = ["-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-c", "docs/site", ".", str(out / "html")]
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    built = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | nowhere, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return {page: Parts(page) for page in sorted((out / "html").rglob("*.html"))}


def test_every_link_of_the_site_leads_to_a_place(site: dict[Path, Parts]) -> None:
    wrong = []
    for page, parts in site.items():
        for link in parts.links:
            address = urlsplit(link)
            if not address.scheme:
                there = (page.parent / unquote(address.path)).resolve() if address.path else page
                places = site[there].places if there in site else set()
                if not there.exists() or (address.fragment and unquote(address.fragment) not in places):
                    wrong.append(f"{page.name}: {link}")
    assert not wrong


def test_links_to_lines_of_code_lead_to_those_lines(site: dict[Path, Parts]) -> None:
    """PPO's page has one to each of its parts; a line has its number on the page of its file."""
    ppo = next(page for page in site if page.match("docs/algorithms/ppo.html"))
    written = [
        (f"../../code/{match['file'].removeprefix('../../')}.html#L{match['line']}")
        for match in LINK.finditer((ROOT / "docs" / "algorithms" / "ppo.md").read_text(encoding="utf-8"))
    ]
    assert len(written) > 5
    assert set(written) <= set(site[ppo].links)


def test_pages_load_nothing_from_elsewhere(site: dict[Path, Parts]) -> None:
    assert {url for parts in site.values() for url in parts.loaded if urlsplit(url).netloc} == set()


def test_formulas_are_drawn(site: dict[Path, Parts]) -> None:
    drawn = [page.stem for page in site if "<math " in page.read_text(encoding="utf-8")]
    assert {"ppo", "dpo", "orpo", "kl-control"} <= set(drawn)


def test_the_reference_has_every_function_of_the_mathematics(site: dict[Path, Parts]) -> None:
    from truing import functional

    reference = next(parts for page, parts in site.items() if page.match("docs/reference.html"))
    missing = {name for name in functional.__all__ if not any(p.endswith(f".{name}") for p in reference.places)}
    assert missing == set()
    assert {"truing.run", "truing.load"} <= reference.places
