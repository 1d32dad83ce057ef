"""Every cell of the tutorial runs, and holds what its page says: the text's claims are asserted in the cells.

Figures differ between processors, and sampled answers with them; the words around them do not.
"""

import re
from itertools import pairwise

import matplotlib
import pytest
import torch
from docs.tutorial import PAGES, TUTORIAL, Cell, cells, run

pytestmark = pytest.mark.long

QUOTED = re.compile("“.*?”")
NUMBER = re.compile(r"[+-]?\d[\d,]*(\.\d+)?(e[+-]\d+)?%?")


PAGES_IN_FULL = 4
"""The world, the reward model, a step, and a run that is asserted to learn. What follows compares ten such runs"""


@pytest.fixture(scope="module", params=["in short", pytest.param("in full", marks=pytest.mark.slow)])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Cell, str | None]]:
    """Each cell with what it printed here; None for one that ran in short."""
    short = PAGES[PAGES_IN_FULL:] if request.param == "in short" else []
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]), matplotlib.rc_context():
        patch.chdir(tmp_path_factory.mktemp("tutorial"))
        names = {"__name__": "tutorial"}
        try:
            printed = [(cell, run(cell, names, cell.page in short)) for cell in cells()]
        finally:
            torch.set_num_threads(threads)
    return [(cell, None if cell.page in short else said) for cell, said in printed]


def words(printed: str) -> list[str]:
    """Line by line, without quotations, figures and the space between."""
    return [" ".join(NUMBER.sub("#", QUOTED.sub("“”", line)).split()) for line in printed.splitlines()]


def test_cells_print_what_their_page_shows(told: list[tuple[Cell, str | None]]) -> None:
    assert len(told) == sum(page.read_text(encoding="utf-8").count("```python") for page in PAGES)
    for cell, printed in told:
        assert printed is None or words(printed) == words(cell.shown), (
            f"{cell.page.name}:{cell.line}: python tests/docs/tutorial.py"
        )


def test_every_page_asserts_what_it_says() -> None:
    silent = [page.name for page in PAGES if not re.search(r"^ *assert ", page.read_text("utf-8"), re.MULTILINE)]
    assert silent == []


def test_the_index_and_the_pages_before_lead_to_each_page() -> None:
    index = (TUTORIAL / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"^- \[[^]]+\]\(([^)]+)\)", index, re.MULTILINE) == [page.name for page in PAGES]
    for page, following in pairwise(PAGES):
        assert f"({following.name})" in page.read_text(encoding="utf-8")[-900:]
