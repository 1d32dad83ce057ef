"""Who may import whom: the house as a table, read against the imports of every file."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from architecture.sources import FILES, module, named, tree

HOUSE = """
floor | room         | of the house                                              | of the libraries
1     | functional   |                                                           | jaxtyping torch
1     | records      |                                                           |
1     | experience   |                                                           | torch
1     | errors       |                                                           |
1     | draws        |                                                           | numpy
2     | recipe       | errors                                                    | pydantic
2     | recipe_files | errors recipe                                             | pydantic pydantic_core yaml
2     | data         | records errors draws recipe                               | datasets pyarrow torch
      |              |                                                           | transformers tokenizers jinja2
2     | label        | records errors                                            | jinja2 starlette uvicorn
3     | models       | functional records experience errors draws recipe         | numpy torch transformers peft
      |              | data.batches data.chat                                    | safetensors
3     | runs         | errors recipe recipe_files                                | filelock rich torch safetensors
4     | trust        | functional records errors models runs                     | torch
4     | stages       | functional records experience errors draws recipe data    | torch
      |              | models runs trust                                         |
5     | report       | recipe_files runs trust                                   | jinja2 markupsafe matplotlib
5     | plan         | recipe recipe_files                                       |
5     | inputs       | errors recipe recipe_files data models.base               |
      |              | models.functions models.weight_files plan stages.episodes |
5     | fork         | errors recipe_files runs plan                             |
5     | pipeline     | errors recipe recipe_files data models runs stages report | torch
      |              | plan fork inputs                                          |
5     | doctor       | functional errors recipe recipe_files data models runs    | torch transformers
      |              | stages pipeline                                           |
5     | conversation | records errors recipe recipe_files data models runs pipeline |
6     | cli          | records errors recipe recipe_files data label models runs | typer rich
      |              | stages trust report pipeline doctor conversation inputs   |
"""
ANYONE = "__version__"
"""What the package itself gives to everyone"""


def rooms() -> dict[str, tuple[int, set[str], set[str]]]:
    """Room to its floor, the modules of the house and the libraries that it may import."""
    result: dict[str, tuple[int, set[str], set[str]]] = {}
    for line in HOUSE.strip().splitlines()[1:]:
        floor, name, house, libraries = (cell.strip() for cell in line.split("|"))
        room = name or list(result)[-1]
        result.setdefault(room, (int(floor or 0), set(), set()))
        result[room][1].update(house.split())
        result[room][2].update(libraries.split())
    return result


ROOMS = rooms()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, inside functions too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}:{node.lineno} imports relatively"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def within(name: str, modules: set[str]) -> bool:
    return any(name == allowed or name.startswith(f"{allowed}.") for allowed in modules)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_keep_to_the_house(path: Path) -> None:
    room = module(path).partition(".")[0]
    _, house, libraries = {"": (0, set[str](), set[str]()), "__main__": ROOMS["cli"], **ROOMS}[room]
    for line, name in imports(path):
        top, _, inner = name.partition(".")
        if top == "truing":
            allowed = within(inner, house | {room, ANYONE} | ({"cli"} if room == "__main__" else set()))
        else:
            allowed = top in libraries or top in sys.stdlib_module_names
        assert allowed, f"{named(path)}:{line} imports {name}, which {room or 'the package'} may not"


def test_rooms_stand_on_lower_floors_or_on_what_is_above_them_in_the_table() -> None:
    order = list(ROOMS)
    assert [ROOMS[room][0] for room in order] == sorted(ROOMS[room][0] for room in order)
    for room, (_, house, _) in ROOMS.items():
        for other in house:
            assert order.index(other.partition(".")[0]) < order.index(room), f"{room} imports {other}"
