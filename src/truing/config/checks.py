"""What must hold between the sections of a recipe. Looks at the document, so that other mistakes do not hide these."""

from collections.abc import Iterator
from typing import Any

from truing.config.mistakes import Mistake
from truing.config.stages import STAGES, StageSpec

PROMPTS = ("prompts", "demonstrations", "preferences")
"""Rows that have a prompt, the first that are named being those that are answered"""


def cross_checks(document: dict[str, Any]) -> list[Mistake]:
    """Mistakes in a document with all defaults written out; what is not of its type is passed over."""
    stages = document["stages"] if isinstance(document["stages"], list) else []
    specs = [STAGES[stage] for stage in stages if isinstance(stage, str) and stage in STAGES]
    data = document["data"] if isinstance(document["data"], dict) else {}
    found = [*_start(document), *_order(stages), *_quantised(document, specs), *_upper_layers(document, specs)]
    if document["world"] is not None:
        found += _rows_beside_world(data)
    elif document["base"] is not None:
        found += [*_rows_for_stages(specs, data), *_heldout(data)]
    found += [*_judges(document), *_rewards(document, specs), *_groups(document, specs), *_room(document, specs, data)]
    return found


def _rewards(document: dict[str, Any], specs: list[StageSpec]) -> Iterator[Mistake]:
    """Sources that a policy asks for: their stage is there, their function is named. DPO asks only where it can."""
    rewards = document["rewards"]
    sources = (
        rewards.get("sources") if isinstance(rewards, dict) and any(spec.must_be_scored for spec in specs) else None
    )
    makers = [spec.name for spec in STAGES.values() if spec.makes == "reward model"]
    for index, source in enumerate(sources if isinstance(sources, list) else []):
        key = f"rewards.sources.{index}"
        if not isinstance(source, dict):
            continue
        if source.get("kind") == "stage" and not any(spec.makes == "reward model" for spec in specs):
            hint = f"Add {_any_of(makers)} to stages, or give rewards.sources of kind model or function."
            yield Mistake(key, "is the model of the reward stage, which is not among the stages.", hint)
        if source.get("kind") == "function":
            yield from _function(source.get("path"), f"{key}.path")


def _room(document: dict[str, Any], specs: list[StageSpec], data: dict[str, Any]) -> Iterator[Mistake]:
    """A response needs a prompt before it."""
    rollout = document["rollout"]
    new, longest = rollout.get("max_new_tokens") if isinstance(rollout, dict) else None, data.get("max_length")
    if any(spec.samples for spec in specs) and isinstance(new, int) and isinstance(longest, int) and new >= longest:
        what = f"leaves no room for a prompt: data.max_length is {longest}, prompt and response together."
        yield Mistake("rollout.max_new_tokens", what, "Lower it, or raise data.max_length.")


def _groups(document: dict[str, Any], specs: list[StageSpec]) -> Iterator[Mistake]:
    """The responses of an update are whole groups."""
    rollout = document["rollout"]
    group = rollout.get("responses_per_prompt") if isinstance(rollout, dict) else None
    for spec in specs:
        section = document[spec.name]
        episodes = section.get("episodes") if isinstance(section, dict) else None
        if isinstance(group, int) and isinstance(episodes, int) and group > 0 and episodes % group:
            what = f"({group}) must divide {spec.name}.episodes ({episodes})."
            yield Mistake("rollout.responses_per_prompt", what, "Change one of the two.")


def _judges(document: dict[str, Any]) -> Iterator[Mistake]:
    evaluation = document["evaluation"]
    judges = evaluation.get("judges") if isinstance(evaluation, dict) else None
    for name, path in judges.items() if isinstance(judges, dict) else ():
        yield from _function(path, f"evaluation.judges.{name}")


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
        hint = "Add base: {path: ...} and data, or world: {}."
        yield Mistake("", "the recipe names neither a base model nor the embedded world.", hint)
    if len(named) == 2:
        hint = "Remove one; on the command line, --set world=null or --set base=null."
        yield Mistake("world", "stands beside base, and a run begins with one of them.", hint)


def _quantised(document: dict[str, Any], specs: list[StageSpec]) -> Iterator[Mistake]:
    """Weights in 4 bit are frozen, so what learns on them is an adapter."""
    base = document["base"]
    if not isinstance(base, dict) or base.get("quantize") != "nf4":
        return
    frozen = "all weights, and base.quantize: nf4 freezes them."
    for spec in specs:
        section = document[spec.name]
        if isinstance(section, dict) and section.get("method") == "full":
            yield Mistake(f"{spec.name}.method", f"full trains {frozen}", "Set it to lora, or base.quantize: none.")
    if _goes_by_roles(document, specs) and document["roles"] == "separate":
        yield Mistake("roles", f"separate roles train {frozen}", "Set roles: shared, or base.quantize: none.")
    if base.get("gguf_file") is not None:
        what = "nf4 cannot be made of a GGUF file."
        yield Mistake("base.quantize", what, "Save the model as safetensors first, or set it to none.")


def _goes_by_roles(document: dict[str, Any], specs: list[StageSpec]) -> bool:
    """Whether `roles` decides what a stage trains; one with a `method` of its own decides itself."""
    return any("method" not in document[spec.name] for spec in specs if isinstance(document[spec.name], dict))


def _upper_layers(document: dict[str, Any], specs: list[StageSpec]) -> Iterator[Mistake]:
    """A policy that is a full model learns in all its layers."""
    lora = document["lora"]
    share = lora.get("layers") if isinstance(lora, dict) else None
    separate = document["roles"] == "separate" and any(spec.makes_policy for spec in specs)
    if separate and isinstance(share, float) and 0 < share < 1:
        what = f"is {share:g}, and separate roles train all layers."
        yield Mistake("lora.layers", what, "Set it to 1, or roles: shared.")


def _order(stages: list[Any]) -> Iterator[Mistake]:
    known = [stage for stage in stages if stage in STAGES]
    wanted = [stage for stage in STAGES if stage in known]
    if known != wanted:
        yield Mistake("stages", "has a stage twice, or before one it builds on.", f"Write [{', '.join(wanted)}].")


def _rows_beside_world(data: dict[str, Any]) -> Iterator[Mistake]:
    for name, source in data.items():
        if isinstance(source, dict):
            yield Mistake(f"data.{name}", "the embedded world brings its own rows.", "Remove it, or world.")


def _rows_for_stages(specs: list[StageSpec], data: dict[str, Any]) -> Iterator[Mistake]:
    for spec in specs:
        for wanted in [*((name,) for name in spec.datasets), *([PROMPTS] if spec.samples else [])]:
            if all(data.get(name) is None for name in wanted):
                what = f"stage {spec.name} needs {_any_of(list(wanted))}, and none are named."
                yield Mistake("data", what, f"Add data.{wanted[0]}.path, or take {spec.name} out of stages.")
                break


def _heldout(data: dict[str, Any]) -> Iterator[Mistake]:
    for kind in ("demonstrations", "preferences"):
        if data.get(f"heldout_{kind}") is not None and data.get(kind) is None:
            yield Mistake(f"data.heldout_{kind}", f"stands without data.{kind}.", "Name both, or neither.")


def _any_of(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
