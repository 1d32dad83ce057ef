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
    found = [*_start(document), *_order(stages), *_judges(document["judges"])]
    found += [*_quantised(document, stages), *_upper_layers(document, stages)]
    if document["world"] is not None:
        found += _rows_beside_world(data)
    elif document["base"] is not None:
        found += [*_rows_for_stages(stages, data), *_heldout(data)]
    return [*found, *ppo_checks(document, document["ppo"], "ppo")]


def ppo_checks(document: dict[str, Any], ppo: Any, root: str) -> Iterator[Mistake]:
    """What a `ppo` section, which stands at the key `root`, asks of the other sections."""
    stages, data = document["stages"], document["data"]
    if not isinstance(stages, list) or not isinstance(ppo, dict):
        return
    rewards = ppo.get("rewards") if "ppo" in stages else None
    for index, part in enumerate(rewards if isinstance(rewards, list) else []):
        if isinstance(part, dict):
            yield from _reward_part(stages, part, f"{root}.rewards.{index}")
    room, longest = ppo.get("max_new_tokens"), data.get("max_length") if isinstance(data, dict) else None
    # Stages after SFT all have prompts answered.
    if stages != ["sft"] and isinstance(room, int) and isinstance(longest, int) and room >= longest:
        what = f"leaves no room for a prompt: data.max_length is {longest}, prompt and response together."
        yield Mistake(f"{root}.max_new_tokens", what, "Lower it, or raise data.max_length.")


def _reward_part(stages: list[Any], part: dict[str, Any], key: str) -> Iterator[Mistake]:
    if part.get("kind") == "stage" and "reward" not in stages:
        what = "is the model of the reward stage, which is not among the stages."
        mend = "Add reward to stages, or give ppo.rewards of kind model or function."
        yield Mistake(key, what, mend)
    if part.get("kind") == "function":
        yield from _function(part.get("path"), f"{key}.path")


def _judges(judges: Any) -> Iterator[Mistake]:
    for name, path in judges.items() if isinstance(judges, dict) else ():
        yield from _function(path, f"judges.{name}")


def _function(path: Any, key: str) -> Iterator[Mistake]:
    """Said before the first stage, and not when the function is first called."""
    if not isinstance(path, str):
        return
    module, _, function = path.rpartition(":")
    if not module or not function.isidentifier():
        yield Mistake(key, f"{path!r} names no function.", "Write module:function or file.py:function.")


def _start(document: dict[str, Any]) -> Iterator[Mistake]:
    named = [name for name in ("base", "world") if document[name] is not None]
    if not named:
        mend = "Add base: {path: ...} and data, or world: {}."
        yield Mistake("", "the recipe names neither a base model nor the embedded world.", mend)
    if len(named) == 2:
        mend = "Remove one; on the command line, --set world=null or --set base=null."
        yield Mistake("world", "stands beside base, and a run begins with one of them.", mend)


def _quantised(document: dict[str, Any], stages: list[Any]) -> Iterator[Mistake]:
    """Weights in 4 bit are frozen, so what learns on them is an adapter."""
    base, sft = document["base"], document["sft"]
    if not isinstance(base, dict) or base.get("quantize") != "nf4":
        return
    if stages != ["sft"] and document["roles"] == "separate":
        what = "separate roles train all weights, and base.quantize: nf4 freezes them."
        yield Mistake("roles", what, "Set roles: shared, or base.quantize: none.")
    if "sft" in stages and isinstance(sft, dict) and sft.get("method") == "full":
        what = "full trains all weights, and base.quantize: nf4 freezes them."
        yield Mistake("sft.method", what, "Set it to lora, or base.quantize: none.")
    if base.get("gguf_file") is not None:
        what = "nf4 cannot be made of a GGUF file."
        yield Mistake("base.quantize", what, "Save the model as safetensors first, or set it to none.")


def _upper_layers(document: dict[str, Any], stages: list[Any]) -> Iterator[Mistake]:
    """A policy that is a full model learns in all its layers."""
    lora = document["lora"]
    share = lora.get("layers") if isinstance(lora, dict) else None
    trained = {"ppo", "dpo"} & {stage for stage in stages if isinstance(stage, str)}
    if trained and document["roles"] == "separate" and isinstance(share, float) and 0 < share < 1:
        what = f"is {share:g}, and separate roles train all layers."
        yield Mistake("lora.layers", what, "Set it to 1, or roles: shared.")


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


def _heldout(data: dict[str, Any]) -> Iterator[Mistake]:
    for kind in ("demonstrations", "preferences"):
        if data.get(f"heldout_{kind}") is not None and data.get(kind) is None:
            yield Mistake(f"data.heldout_{kind}", f"stands without data.{kind}.", "Name both, or neither.")


def _any_of(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
