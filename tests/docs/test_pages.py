"""The documentation points at what is there, and defines every metric that is logged."""

import re
from pathlib import Path

import pytest
from docs.code_links import PAGES, ROOT, code_links

LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


def test_links_to_code_name_what_stands_on_their_line():
    wrong = [f"{link.page.relative_to(ROOT)}: {link.text}" for link in code_links() if link.line != str(link.wanted)]
    assert not wrong, "python tests/docs/code_links.py brings them up to date"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path):
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
