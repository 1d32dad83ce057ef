"""What holds for every page that truing writes, whichever room writes it."""

import re

import pytest
from architecture.sources import PACKAGE

PAGES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.html"))


@pytest.mark.parametrize("page", PAGES)
def test_what_scrolls_is_reached_by_keyboard_and_has_a_name(page: str) -> None:
    for scrolling in re.findall(r'<div class="scroll"[^>]*>', (PACKAGE / page).read_text(encoding="utf-8")):
        assert 'tabindex="0" role="region" aria-label="' in scrolling, scrolling


def test_the_pages_are_found() -> None:
    assert {"report/template.html", "sweep/frontier.html", "rounds/rounds.html"} <= set(PAGES)
