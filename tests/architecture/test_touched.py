"""`make check` asks the tests that a change touches."""

import pytest
from architecture.sources import PACKAGE
from architecture.touched import ALWAYS, COMMANDS, EVERYTHING, ROOT, SITE, touched


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("src/truing/data/rows.py", "tests/data/test_rows.py"),
        ("src/truing/kernels/cpu/linear.py", "tests/kernels/cpu/test_linear.py"),
        ("src/truing/models/weights.py", "tests/models"),  # no tests have its name
        ("src/truing/score.py", "tests/test_score.py"),
        ("tests/faults/test_kills.py", "tests/faults/test_kills.py"),
        ("tests/faults/killed.py", "tests/faults"),
        ("pyproject.toml", "tests/release"),
        ("docs/log.md", SITE),
        ("docs/site/conf.py", SITE),
        ("docs/tutorial/score.svg", "tests/docs/test_tutorial.py"),
    ],
)
def test_a_change_touches_the_tests_of_its_name_or_of_its_room(changed: str, tests: str) -> None:
    assert set(touched([changed])) == {*ALWAYS, tests}


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("examples/ppo_on_a_page.py", {"tests/examples", COMMANDS}),
        ("recipes/quickstart.yaml", {"tests/config", COMMANDS}),
        ("README.md", {SITE, COMMANDS}),
        ("docs/trust.md", {SITE, COMMANDS}),
        ("docs/coming-from.md", {"tests/docs/test_coming_from.py", SITE, COMMANDS}),
        ("docs/tutorial/03-step.md", {"tests/docs/test_tutorial.py", SITE, COMMANDS}),
    ],
)
def test_a_page_or_a_recipe_touches_what_shows_it_and_what_runs_it(changed: str, tests: set[str]) -> None:
    assert set(touched([changed])) == {*ALWAYS, *tests}


def test_what_has_no_tests_or_is_gone_touches_the_house_rules_alone() -> None:
    assert touched(["LICENSE", "docs/report.png", "tests/data/test_of_old.py"]) == sorted(ALWAYS)


def test_what_every_test_shares_touches_every_test() -> None:
    assert touched(["tests/tiny.py"]) == [EVERYTHING]


def test_every_room_has_its_tests() -> None:
    rooms = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert {room for room in rooms if not (ROOT / "tests" / room).is_dir()} == set()
