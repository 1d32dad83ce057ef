"""What must hold between the sections of a recipe. Looks at the document, so that other mistakes do not hide these."""

from collections.abc import Iterator
from typing import Any, get_args

from truing.recipe import StageName
from truing.recipe_files.mistakes import Mistake

_ORDER = list(get_args(StageName))
_ROWS = {
    "sft": ["demonstrations"],
    "reward": ["preferences"],
    "ppo": ["prompts", "demonstrations", "preferences"],
    "dpo": ["preferences"],
}
"""The data that each stage needs: any of these"""


def cross_checks(document: dict[str, Any]) -> list[Mistake]:
    """Mistakes in a document with all defaults written out; what is not of its type is passed over."""
    stages = document["stages"] if isinstance(document["stages"], list) else []
    data = document["data"] if isinstance(document["data"], dict) else {}
    ppo = document["ppo"] if isinstance(document["ppo"], dict) else {}
    found = [*_start(document), *_order(stages)]
    if document["world"] is not None:
        found += _rows_beside_world(data)
    elif document["base"] is not None:
        found += _rows_for_stages(stages, data)
    if "ppo" in stages:
        found += reward_checks(stages, ppo.get("rewards"), "ppo.rewards")
    return found


def reward_checks(stages: list[Any], rewards: Any, key: str) -> Iterator[Mistake]:
    """A part of the reward that is the reward stage's model needs that stage."""
    for index, part in enumerate(rewards if isinstance(rewards, list) else []):
        if isinstance(part, dict) and part.get("kind") == "stage" and "reward" not in stages:
            what = "is the model of the reward stage, which is not among the stages."
            mend = "Add reward to stages, or give ppo.rewards of kind model or function."
            yield Mistake(f"{key}.{index}", what, mend)


def _start(document: dict[str, Any]) -> Iterator[Mistake]:
    named = [name for name in ("base", "world") if document[name] is not None]
    if not named:
        mend = "Add base: {path: ...} and data, or world: {}."
        yield Mistake("", "the recipe names neither a base model nor the embedded world.", mend)
    if len(named) == 2:
        mend = "Remove one; on the command line, --set world=null or --set base=null."
        yield Mistake("world", "stands beside base, and a run begins with one of them.", mend)


def _order(stages: list[Any]) -> Iterator[Mistake]:
    known = [stage for stage in stages if stage in _ORDER]
    wanted = [stage for stage in _ORDER if stage in known]
    if known != wanted:
        yield Mistake("stages", "has a stage twice, or before one it builds on.", f"Write [{', '.join(wanted)}].")


def _rows_beside_world(data: dict[str, Any]) -> Iterator[Mistake]:
    for name, source in data.items():
        if isinstance(source, dict):
            yield Mistake(f"data.{name}", "the embedded world brings its own rows.", "Remove it, or world.")


def _rows_for_stages(stages: list[Any], data: dict[str, Any]) -> Iterator[Mistake]:
    for stage, kinds in _ROWS.items():
        if stage in stages and all(data.get(kind) is None for kind in kinds):
            what = f"stage {stage} needs {_any_of(kinds)}, and none are named."
            yield Mistake("data", what, f"Add data.{kinds[0]}.path, or take {stage} out of stages.")


def _any_of(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
