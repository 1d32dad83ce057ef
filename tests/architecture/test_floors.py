"""Who imports whom: the house as a table, which says what every room imports, no more and no less."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from architecture.sources import FILES, module, named, tree

HOUSE = """
0 | core       |                                                        | numpy pydantic torch
0 | functional |                                                        | jaxtyping torch
1 | config     | core                                                   | pydantic pydantic_core yaml
1 | data       | core config                                            | datasets jinja2 pyarrow transformers
1 | worlds     | core config                                            | tokenizers torch transformers
2 | kernels    | core functional data                                   | peft torch transformers
2 | processes  | core kernels                                           | peft torch transformers
2 | models     | core config data kernels processes                     | huggingface_hub peft safetensors torch
  |            |                                                        | transformers
2 | runs       | core config processes                                  | filelock pydantic rich safetensors torch
3 | rollout    | core functional config data processes kernels models   | numpy torch
  |            | runs                                                   |
3 | rewards    | core functional config data processes models rollout   | torch transformers
  |            | runs                                                   |
3 | evaluation | core functional config data models runs rollout        | torch
  |            | rewards                                                |
3 | trust      | core functional data rewards evaluation                | sklearn torch
3 | training   | core config data processes models runs rewards         | torch
3 | guard      | core functional config data processes runs rewards     | pydantic
  |            | evaluation training                                    |
4 | stages     | core functional config data models                     | torch
  |            | rollout rewards evaluation trust training guard        |
5 | preflight  | core config data kernels models rollout rewards guard  | torch transformers
5 | pipeline   | core config data worlds kernels processes models runs  | pydantic torch
  |            | rewards training preflight                             |
5 | estimate   | core config data worlds kernels processes models       | torch transformers
  |            | rewards runs preflight pipeline                        |
6 | report     | core config runs evaluation                            | jinja2 markupsafe matplotlib
6 | sweep      | core config data functional evaluation models pipeline | markupsafe matplotlib pydantic torch
  |            | preflight processes report rewards rollout runs        |
6 | score      | core config data models rewards runs pipeline          | torch
6 | judge      | core data evaluation rewards runs trust score          |
6 | results    | core config data models rollout runs pipeline          |
6 | chat       | core results rollout runs                              |
6 | sample     | core data results rewards runs score                   |
6 | compare    | report runs                                            |
6 | export     | core config data models report results runs            | huggingface_hub
6 | labelling  | core functional config data results runs sample score  | jinja2 krippendorff markdown_it
  |            |                                                        | markupsafe numpy pydantic starlette
  |            |                                                        | torch uvicorn
6 | rounds     | core config data estimate functional labelling models  | matplotlib torch
  |            | pipeline report results rewards runs score worlds      |
7 | cli        | core config data processes runs preflight pipeline     | rich typer
  |            | estimate report sweep chat score judge results sample  |
  |            | compare export labelling rounds worlds                 |
7 | notebook   | core cli report results runs sample score              | markupsafe pandas transformers
"""
"""Floor, room, and what it imports of the house and of the libraries"""
ANYONE = "__version__"
"""What the package itself gives to everyone"""


class Room(NamedTuple):
    floor: int
    house: set[str]
    libraries: set[str]


def rooms() -> dict[str, Room]:
    result: dict[str, Room] = {}
    for line in HOUSE.strip().splitlines():
        floor, name, house, libraries = (cell.strip() for cell in line.split("|"))
        room = result.setdefault(name or list(result)[-1], Room(int(floor or 0), set(), set()))
        room.house.update(house.split())
        room.libraries.update(libraries.split())
    return result


ROOMS = rooms()


def room_of(path: Path) -> str:
    """`__main__` is the command line's; the package itself imports nothing."""
    return module(path).partition(".")[0].replace("__main__", "cli")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, inside functions too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}:{node.lineno} imports relatively"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def imported(room: str) -> dict[str, str]:
    """Each room, as `truing.NAME`, and each library that a room imports, to a place where it does."""
    found: dict[str, str] = {}
    for path in FILES:
        for line, name in imports(path) if room_of(path) == room else ():
            top, _, inner = name.partition(".")
            target = f"truing.{inner.partition('.')[0]}" if top == "truing" else top
            if target not in {f"truing.{room}", f"truing.{ANYONE}", *sys.stdlib_module_names}:
                found.setdefault(target, f"{named(path)}:{line}")
    return found


def test_every_file_is_in_a_room() -> None:
    assert {room_of(path) for path in FILES} == {"", *ROOMS}
    assert imported("") == {}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_the_house_says(room: str) -> None:
    allowed = {f"truing.{name}" for name in ROOMS[room].house} | ROOMS[room].libraries
    found = imported(room)
    assert {target: place for target, place in found.items() if target not in allowed} == {}, "the house forbids it"
    assert allowed - found.keys() == set(), "the house allows what nobody imports"


def test_rooms_stand_on_lower_floors_or_on_what_is_above_them_in_the_table() -> None:
    order = list(ROOMS)
    assert [ROOMS[room].floor for room in order] == sorted(ROOMS[room].floor for room in order)
    for room, (_, house, _) in ROOMS.items():
        for other in house:
            assert order.index(other) < order.index(room), f"{room} imports {other}"


def test_the_house_is_that_of_the_contributing_page() -> None:
    page = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| `(\w+)/?` \|", page, re.MULTILINE)
    assert [(int(floor), room) for floor, room in rows] == [(room.floor, name) for name, room in ROOMS.items()]
