"""What must hold between the fields of a recipe, each of which is sound by itself."""

from collections.abc import Callable, Collection, Iterator, Sequence

from truing.config.recipe import Recipe
from truing.config.sections import OWN_PYTHON
from truing.config.stages import STAGES, StageSpec, within
from truing.core.errors import Problem

PROMPTS = ("prompts", "demonstrations", "preferences", "ratings")
"""Rows that have a prompt, the first that are named being those that are answered"""
CANNOT_TRAIN = "recipe/frozen-weights"
Specs = Sequence[StageSpec]


def cross_checks(recipe: Recipe, unsound: Collection[str] = ()) -> list[Problem]:
    """The problems between fields; checks that read an `unsound` key, which is reported already, are left out."""
    specs = [STAGES[stage] for stage in dict.fromkeys(recipe.stages)]
    return [
        problem
        for check, fields in CHECKS
        if not any(within(key, fields) or within(field, (key,)) for key in unsound for field in fields)
        for problem in check(recipe, specs)
    ]


def _start(recipe: Recipe, _: Specs) -> Iterator[Problem]:
    if recipe.base is None and recipe.world is None:
        what = "the recipe names neither a base model nor the embedded world."
        yield Problem("recipe/no-start", None, what, "Add base: {path: ...} and data, or world: {}.")
    if recipe.base is not None and recipe.world is not None:
        what = "stands beside base, and a run begins with one of them."
        hint = "Remove one; on the command line, --set world=null or --set base=null."
        yield Problem("recipe/two-starts", "world", what, hint)


def _order(recipe: Recipe, _: Specs) -> Iterator[Problem]:
    ordered = [stage for stage in STAGES if stage in recipe.stages]
    if recipe.stages != ordered:
        what = "has a stage twice, or before one it builds on."
        yield Problem("recipe/stage-order", "stages", what, f"Write [{', '.join(ordered)}].")


def _quantised(recipe: Recipe, specs: Specs) -> Iterator[Problem]:
    """Weights in 4 bit are frozen, so what learns on them is an adapter."""
    if recipe.base is None or recipe.base.quantize != "nf4":
        return
    frozen, unfreeze = "all weights, and base.quantize: nf4 freezes them.", "or base.quantize: none."
    methods = {spec.name: getattr(getattr(recipe, spec.name), "method", None) for spec in specs}
    for stage, method in methods.items():
        if method == "full":
            yield Problem(CANNOT_TRAIN, f"{stage}.method", f"full trains {frozen}", f"Set it to lora, {unfreeze}")
    if recipe.roles == "separate" and None in methods.values():  # a stage with a method of its own goes by that
        yield Problem(CANNOT_TRAIN, "roles", f"separate roles train {frozen}", f"Set roles: shared, {unfreeze}")
    if recipe.compute.shard:
        what, hint = "cannot spread weights in 4 bit over processes.", "Set it to false, or base.quantize: none."
        yield Problem("recipe/quantised-shard", "compute.shard", what, hint)
    if recipe.base.gguf_file is not None:
        hint = "Save the model as safetensors first, or set it to none."
        yield Problem("recipe/quantised-gguf", "base.quantize", "nf4 cannot be made of a GGUF file.", hint)


def _upper_layers(recipe: Recipe, specs: Specs) -> Iterator[Problem]:
    """A policy that is a full model learns in all its layers."""
    if recipe.lora.layers < 1 and recipe.roles == "separate" and any(spec.makes_policy for spec in specs):
        what = f"is {recipe.lora.layers:g}, and separate roles train all layers."
        yield Problem("recipe/all-layers", "lora.layers", what, "Set it to 1, or roles: shared.")


def _rows(recipe: Recipe, specs: Specs) -> Iterator[Problem]:
    """Those that the stages learn from or answer are named, or made by the world."""
    named = recipe.data.sources
    if recipe.world is not None:
        for name in named:
            what = "the embedded world brings its own rows."
            yield Problem("recipe/rows-beside-world", f"data.{name}", what, "Remove it, or world.")
    elif recipe.base is not None:
        for spec in specs:
            wanted = [*((name,) for name in spec.datasets_of(recipe)), *([PROMPTS] if spec.samples else [])]
            for names in [names for names in wanted if named.keys().isdisjoint(names)][:1]:
                what = f"stage {spec.name} needs {_any_of(names)}, and none are named."
                hint = f"Add data.{names[0]}.path, or take {spec.name} out of stages."
                yield Problem("recipe/no-rows", "data", what, hint)


def _heldout(recipe: Recipe, _: Specs) -> Iterator[Problem]:
    for name in recipe.data.sources if recipe.world is None else ():
        learnt = name.removeprefix("heldout_")
        if learnt not in recipe.data.sources:
            what = f"stands without data.{learnt}."
            yield Problem("recipe/heldout-alone", f"data.{name}", what, "Name both, or neither.")


def _rewards(recipe: Recipe, specs: Specs) -> Iterator[Problem]:
    """Sources that a stage learns from or is scored by: their stage is there, their function is named."""
    is_scored = any(spec.must_be_scored or spec.scored_by in recipe.stages for spec in specs)
    for index, source in enumerate(recipe.rewards.sources if is_scored else ()):
        key = f"rewards.sources.{index}"
        if source.kind in OWN_PYTHON:
            sort = "class" if source.kind == "environment" else "function"
            yield from _function(source.path or "", f"{key}.path", sort)
        if source.kind == "judge":
            yield from _llm_judge(recipe, source.path or "", f"{key}.path")
        if source.kind == "stage" and not any(spec.makes == "reward model" for spec in specs):
            makers = _any_of([spec.name for spec in STAGES.values() if spec.makes == "reward model"])
            what = "is the model of the reward stage, which is not among the stages."
            hint = f"Add {makers} to stages, or give rewards.sources of kind model, function or judge."
            yield Problem("recipe/no-reward-stage", key, what, hint)
        for spec in specs if source.combine != "mean" else ():
            if spec.makes == "reward model" and getattr(recipe, spec.name).members == 1:
                what = f"{source.combine} is of several members, and the reward stage makes one."
                yield Problem("recipe/one-member", f"{key}.combine", what, f"Raise {spec.name}.members, or take mean.")


def _judges(recipe: Recipe, _: Specs) -> Iterator[Problem]:
    for name, path in recipe.evaluation.judges.items():
        if "." in name:
            what = f"the name {name!r} has a dot, which divides a section from its key."
            yield Problem("recipe/judge-name", "evaluation.judges", what, f"Call it {name.replace('.', '_')}.")
        if path not in recipe.llm_judges:
            yield from _function(path, f"evaluation.judges.{name}")


def _guard(recipe: Recipe, specs: Specs) -> Iterator[Problem]:
    """It has looks to make, by a function that can be named and nothing learns from, and is alone in setting beta."""
    guard = recipe.guard
    guarded = [spec.name for spec in specs if spec.must_be_scored]
    if guard.mode == "off":
        return
    if not guarded:
        what = f"is {guard.mode}, and no stage is guarded: it watches policies that learn from rewards."
        learners = _any_of([spec.name for spec in STAGES.values() if spec.must_be_scored])
        yield Problem("recipe/nothing-to-guard", "guard.mode", what, f"Add {learners} to stages, or set it to off.")
    for name in guarded:
        section = getattr(recipe, name)
        if section.kl.controller == "adaptive" and guard.mode == "rollback":
            what = "adaptive sets beta, and so does guard.mode: rollback."
            hint = "Set it to fixed, or guard.mode to warn or stop."
            yield Problem("recipe/two-set-beta", f"{name}.kl.controller", what, hint)
        looks = guard.looks(section.updates)
        if guard.judge.kind != "none" and guard.labels < looks:
            what = f"({guard.labels}) are fewer than the looks, of which there are {looks}."
            yield Problem("recipe/too-few-labels", "guard.labels", what, "Raise it, or guard.look_every.")
    if guard.judge.path and guard.judge.kind == "llm":
        yield from _llm_judge(recipe, guard.judge.path, "guard.judge.path")
    elif guard.judge.path:
        yield from _function(guard.judge.path, "guard.judge.path")
    if guard.judge.path in [source.path for source in recipe.rewards.sources if source.path]:
        what = "is a source of the reward too, and sees no harm in what is learnt from it."
        yield Problem("recipe/judge-learnt-from", "guard.judge.path", what, "Name a judge that no stage learns from.")


def _llm_judge(recipe: Recipe, name: str, key: str) -> Iterator[Problem]:
    if name not in recipe.llm_judges:
        there = ", ".join(recipe.llm_judges) or "none"
        what = f"{name!r} is no name in llm_judges, where there is {there}."
        yield Problem("recipe/no-llm-judge", key, what, "Describe it there, with base_url and model.")


def _llm_judges(recipe: Recipe, _: Specs) -> Iterator[Problem]:
    for name in recipe.llm_judges:
        if not name.isidentifier():
            what, hint = f"the name {name!r} is none.", "Use letters, digits and '_'."
            yield Problem("recipe/llm-judge-name", "llm_judges", what, hint)


def _function(path: str, key: str, sort: str = "function") -> Iterator[Problem]:
    module, _, name = path.rpartition(":")
    if not module or not name.isidentifier():
        what = f"{path!r} names no {sort}."
        mend = " A judge may also be a name in llm_judges." if key.startswith("evaluation.") else ""
        yield Problem("recipe/no-function", key, what, f"Write module:{sort} or file.py:{sort}.{mend}")


def _tools(recipe: Recipe, _: Specs) -> Iterator[Problem]:
    """Of the form that chat templates read; a key that they do not know, they pass over without a word."""
    known = {"name", "description", "parameters", "return", "strict"}
    hint = "Write it as {type: function, function: {name: ..., description: ..., parameters: {a JSON schema}}}."
    for number, tool in enumerate(recipe.data.tools):
        function = tool.get("function")
        fault = None
        if tool.get("type") != "function" or not isinstance(function, dict):
            fault = "is no tool of type function"
        elif not isinstance(function.get("name"), str):
            fault = "is a function without a name"
        elif unknown := sorted(map(str, function.keys() - known)):
            fault = f"has a key `{unknown[0]}`"
        if fault is not None:
            yield Problem("recipe/no-tool", f"data.tools.{number}", f"{fault}.", hint)


def _groups(recipe: Recipe, specs: Specs) -> Iterator[Problem]:
    """The responses of an update are whole groups."""
    for spec in specs:
        section = getattr(recipe, spec.name)
        episodes, group = getattr(section, "episodes", 0), getattr(section, "responses_per_prompt", 1)
        if episodes % group:
            what = f"({group}) must divide {spec.name}.episodes ({episodes})."
            yield Problem("recipe/torn-groups", f"{spec.name}.responses_per_prompt", what, "Change one of the two.")


def _engine(recipe: Recipe, specs: Specs) -> Iterator[Problem]:
    """A server answers the prompts of updates, and what it is given anew before each is an adapter."""
    if recipe.rollout.engine != "vllm":
        return
    if not any(spec.must_be_scored for spec in specs):
        what = "vllm answers the prompts of updates, and no stage has any: all responses would be drawn here."
        samplers = _any_of([spec.name for spec in STAGES.values() if spec.must_be_scored])
        yield Problem("recipe/idle-engine", "rollout.engine", what, f"Set it to local, or add {samplers} to stages.")
    elif recipe.roles == "separate":
        what = "vllm takes over an adapter, and separate roles train all weights."
        yield Problem("recipe/engine-takes-adapters", "rollout.engine", what, "Set it to local, or roles: shared.")


def _staleness(recipe: Recipe, _: Specs) -> Iterator[Problem]:
    """Responses are drawn while others are learnt from: by somebody else, and so by weights that are older by then."""
    if recipe.rollout.max_staleness == 0:
        return
    if recipe.rollout.engine == "local":
        what = "lets responses be drawn while the learner learns, and engine local is the process that learns."
        yield Problem("recipe/nothing-ahead", "rollout.max_staleness", what, "Set it to 0, or rollout.engine: vllm.")
    elif recipe.rollout.vllm.old_logprobs == "engine":
        what = "engine is the word of older weights, by which no ratio begins at 1 that would prove the learner right."
        hint = "Set it to learner, which weighs tokens, or rollout.max_staleness: 0."
        yield Problem("recipe/stale-ratio", "rollout.vllm.old_logprobs", what, hint)


def _environment(recipe: Recipe, specs: Specs) -> Iterator[Problem]:
    """One answers the policy, between turns of the weights that learn."""
    numbers = [number for number, source in enumerate(recipe.rewards.sources) if source.kind == "environment"]
    if len(numbers) > 1:
        what = "is a second environment, and a policy talks with one."
        hint = "Take it away, or write one class that does both."
        yield Problem("recipe/two-environments", f"rewards.sources.{numbers[1]}", what, hint)
    if numbers and not any(spec.must_be_scored for spec in specs):
        what = "is what a policy learns by talking, and no stage learns from rewards."
        learners = _any_of([spec.name for spec in STAGES.values() if spec.must_be_scored])
        yield Problem("recipe/idle-environment", f"rewards.sources.{numbers[0]}", what, f"Add {learners} to stages.")
    if numbers and recipe.rollout.max_staleness:
        what = "lets weights change while responses are drawn, and turns of one episode would be of several policies."
        yield Problem("recipe/stale-turns", "rollout.max_staleness", what, "Set it to 0 where an environment answers.")


def _room(recipe: Recipe, specs: Specs) -> Iterator[Problem]:
    """A response needs a prompt before it."""
    longest, source = recipe.data.max_length, recipe.environment
    if any(spec.samples for spec in specs) and recipe.longest_response >= longest:
        turns = f" ({source.turns} turns of it, and what is said between: {recipe.longest_response})" if source else ""
        what = f"leaves no room for a prompt: data.max_length is {longest}, prompt and response together{turns}."
        yield Problem("recipe/no-room", "rollout.max_new_tokens", what, "Lower it, or raise data.max_length.")


def _any_of(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


CHECKS: tuple[tuple[Callable[[Recipe, Specs], Iterator[Problem]], tuple[str, ...]], ...] = (
    (_start, ("base", "world")),
    (_order, ("stages",)),
    (_quantised, ("stages", "base", "roles", "compute", *(f"{stage}.method" for stage in STAGES))),
    (_upper_layers, ("stages", "roles", "lora.layers")),
    (_rows, ("stages", "base", "world", "data", *(f"{stage}.data" for stage in STAGES))),
    (_heldout, ("world", "data")),
    (_rewards, ("stages", "rewards.sources", "llm_judges", *(f"{stage}.members" for stage in STAGES))),
    (_llm_judges, ("llm_judges",)),
    (_judges, ("evaluation.judges", "llm_judges")),
    (
        _guard,
        (
            "stages",
            "guard",
            "rewards.sources",
            "llm_judges",
            *(f"{stage}.kl" for stage in STAGES),
            *(f"{stage}.updates" for stage in STAGES),
        ),
    ),
    (
        _groups,
        ("stages", *(f"{stage}.{key}" for stage in STAGES for key in ("episodes", "responses_per_prompt"))),
    ),
    (_engine, ("stages", "roles", "rollout.engine")),
    (_staleness, ("rollout.engine", "rollout.max_staleness", "rollout.vllm.old_logprobs")),
    (_tools, ("data.tools",)),
    (_environment, ("stages", "rewards.sources", "rollout.max_staleness")),
    (_room, ("stages", "rollout.max_new_tokens", "data.max_length", "rewards.sources")),
)
"""Each with the fields that it reads"""
