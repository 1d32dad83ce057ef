"""What must hold between the fields of a recipe."""

from typing import Any

import pytest

WORLD = "world: {}\n"
BASE = "base: {path: org/model}\n"
NF4 = "base: {path: org/model, quantize: nf4}\n"
DEMONSTRATIONS, PREFERENCES, RATINGS, PROMPTS = (
    f"{name}: {{path: org/rows}}" for name in ("demonstrations", "preferences", "ratings", "prompts")
)
SOFT = "rewards: {sources: [{kind: stage, combine: soft_minimum, tau: 1.0}]}"


def data(*sources: str) -> str:
    return f"data: {{{', '.join(sources)}}}\n"


@pytest.mark.parametrize(
    "text",
    [
        WORLD,
        BASE + data(DEMONSTRATIONS, PREFERENCES),
        BASE + data(DEMONSTRATIONS, PREFERENCES, PROMPTS, f"heldout_{DEMONSTRATIONS}", f"heldout_{PREFERENCES}"),
        BASE + data(DEMONSTRATIONS) + "stages: [sft]",
        BASE + data(PREFERENCES) + "stages: [reward]",
        BASE + data(PREFERENCES) + "stages: [dpo]",
        BASE + data(PREFERENCES) + "stages: [sft, simpo, orpo]\nsft: {data: preferences}",
        BASE + data(RATINGS) + "stages: [kto]",
        BASE + data(DEMONSTRATIONS, PREFERENCES) + "stages: [sft, dpo]",
        BASE + data(PREFERENCES) + "stages: [reward, ppo]",
        BASE + data(PROMPTS) + "stages: [ppo]\nrewards: {sources: [{kind: model, path: org/judge}]}",
        BASE + data(PROMPTS) + "stages: [ppo]\nrewards: {sources: [{kind: function, path: 'a.b:c'}]}",
        WORLD + "evaluation: {judges: {a: 'package.module:function', b: 'C:\\folder\\file.py:function'}}",
        WORLD + "guard: {mode: rollback, judge: {kind: pairs, path: 'a:b'}}",
        WORLD + "stages: [sft]\nrollout: {max_new_tokens: 512}",
        WORLD + "rollout: {engine: vllm, vllm: {url: 'https://host.example:1'}}",
        WORLD + "rollout: {engine: vllm, max_staleness: 2}",
        WORLD + "rollout: {max_new_tokens: 511}\nppo: {responses_per_prompt: 4}",
        WORLD + "stages: [sft]\nppo: {responses_per_prompt: 3}",
        NF4 + data(DEMONSTRATIONS, PREFERENCES),
        NF4 + data(DEMONSTRATIONS) + "stages: [sft]\nroles: separate",
        NF4 + data(PREFERENCES) + "stages: [reward]\nsft: {method: full}",
        WORLD + "lora: {layers: 0.5}",
        WORLD + "roles: separate\nlora: {layers: 1.0}",
        WORLD + SOFT + "\nreward: {members: 2}",
        WORLD + "roles: separate\nlora: {layers: 0.5}\nstages: [sft, reward]",
    ],
)
def test_a_sound_recipe_is_accepted(load: Any, text: str) -> None:
    load(text)


@pytest.mark.parametrize(
    ("text", "code", "field", "line"),
    [
        ("seed: 1", "no-start", None, None),
        (WORLD + BASE, "two-starts", "world", 1),
        (WORLD + data(PROMPTS), "rows-beside-world", "data.prompts", 2),
        (WORLD + "stages: [sft, sft]", "stage-order", "stages", 2),
        (WORLD + "stages: [ppo, reward]", "stage-order", "stages", 2),
        (WORLD + "stages: [sft, ppo]", "no-reward-stage", "rewards.sources.0", None),
        (
            WORLD + "stages: [ppo]\nrewards:\n  sources:\n  - {kind: function, path: 'a:b'}\n  - {kind: stage}",
            "no-reward-stage",
            "rewards.sources.1",
            6,
        ),
        (WORLD + SOFT, "one-member", "rewards.sources.0.combine", 2),
        (WORLD + SOFT + "\nstages: [sft, reward, dpo]", "one-member", "rewards.sources.0.combine", 2),
        (WORLD + SOFT.replace(", tau: 1.0", ""), "contradiction", "rewards.sources.0", 2),
        (WORLD + SOFT.replace("soft_minimum", "mean"), "contradiction", "rewards.sources.0", 2),
        (WORLD + SOFT.replace("tau", "variance_price"), "contradiction", "rewards.sources.0", 2),
        (WORLD + SOFT.replace("stage", "model, path: org/judge"), "contradiction", "rewards.sources.0", 2),
        (BASE + data(PREFERENCES), "no-rows", "data", 2),
        (BASE + data(DEMONSTRATIONS), "no-rows", "data", 2),
        (BASE + data(DEMONSTRATIONS) + "stages: [dpo]", "no-rows", "data", 2),
        (BASE + data(PREFERENCES) + "stages: [kto]", "no-rows", "data", 2),
        (BASE + data(DEMONSTRATIONS) + "stages: [sft]\nsft: {data: preferences}", "no-rows", "data", 2),
        (BASE + "stages: [ppo]\nrewards: {sources: [{kind: model, path: org/judge}]}", "no-rows", "data", None),
        (
            BASE + data(DEMONSTRATIONS, f"heldout_{PREFERENCES}") + "stages: [sft]",
            "heldout-alone",
            "data.heldout_preferences",
            2,
        ),
        (WORLD + "evaluation: {judges: {a: module}}", "no-function", "evaluation.judges.a", 2),
        (WORLD + "evaluation: {judges: {a: 'module:'}}", "no-function", "evaluation.judges.a", 2),
        (WORLD + "evaluation: {judges: {a: ':f'}}", "no-function", "evaluation.judges.a", 2),
        (WORLD + "evaluation: {judges: {a.b: 'm:f'}}", "judge-name", "evaluation.judges", 2),
        (
            WORLD + "rewards: {sources: [{kind: function, path: m.f}]}",
            "no-function",
            "rewards.sources.0.path",
            2,
        ),
        (WORLD + "data: {tools: [{name: add}]}", "no-tool", "data.tools.0", 2),
        (WORLD + "data: {tools: [{type: function, function: {parameters: {}}}]}", "no-tool", "data.tools.0", 2),
        (WORLD + "data: {tools: [{type: function, function: {name: a, paramters: {}}}]}", "no-tool", "data.tools.0", 2),
        (WORLD + "evaluation: {judges: {a: strict}}", "no-function", "evaluation.judges.a", 2),
        (WORLD + "rewards: {sources: [{kind: judge, path: strict}]}", "no-llm-judge", "rewards.sources.0.path", 2),
        (WORLD + "guard: {mode: warn, judge: {kind: llm, path: strict}}", "no-llm-judge", "guard.judge.path", 2),
        (WORLD + "llm_judges: {1st: {base_url: 'http://a/v1', model: m}}", "llm-judge-name", "llm_judges", 2),
        (WORLD + "rollout: {max_new_tokens: 512}", "no-room", "rollout.max_new_tokens", 2),
        (WORLD + "ppo: {responses_per_prompt: 3}", "torn-groups", "ppo.responses_per_prompt", 2),
        (NF4 + data(DEMONSTRATIONS, PREFERENCES) + "roles: separate", "frozen-weights", "roles", 3),
        (NF4 + data(DEMONSTRATIONS) + "stages: [sft]\nsft: {method: full}", "frozen-weights", "sft.method", 4),
        (
            "base: {path: org/model, quantize: nf4, gguf_file: a.gguf}\n" + data(DEMONSTRATIONS) + "stages: [sft]",
            "quantised-gguf",
            "base.quantize",
            1,
        ),
        (NF4 + data(DEMONSTRATIONS) + "stages: [sft]\ncompute: {shard: true}", "quantised-shard", "compute.shard", 4),
        (WORLD + "roles: separate\nlora: {layers: 0.5}\nstages: [reward, dpo]", "all-layers", "lora.layers", 3),
        (WORLD + "roles: separate\nrollout: {engine: vllm}", "engine-takes-adapters", "rollout.engine", 3),
        (WORLD + "stages: [sft, reward, dpo]\nrollout: {engine: vllm}", "idle-engine", "rollout.engine", 3),
        (WORLD + "rollout: {max_staleness: 1}", "nothing-ahead", "rollout.max_staleness", 2),
        (
            WORLD + "rollout: {engine: vllm, max_staleness: 1, vllm: {old_logprobs: engine}}",
            "stale-ratio",
            "rollout.vllm.old_logprobs",
            2,
        ),
        (WORLD + "stages: [sft, reward, dpo]\nguard: {mode: warn}", "nothing-to-guard", "guard.mode", 3),
        (WORLD + "guard: {mode: stop, labels: 1, look_every: 1}", "too-few-labels", "guard.labels", 2),
        (
            WORLD + "guard: {mode: rollback}\nppo: {kl: {controller: adaptive, target: 5}}",
            "two-set-beta",
            "ppo.kl.controller",
            3,
        ),
        (
            WORLD + "rewards: {sources: [{kind: function, path: 'a:b'}]}\n"
            "guard: {mode: warn, judge: {kind: scores, path: 'a:b'}}",
            "judge-learnt-from",
            "guard.judge.path",
            3,
        ),
    ],
)
def test_fields_that_contradict_each_other_are_named(
    spots: Any, text: str, code: str, field: str | None, line: int | None
) -> None:
    assert spots(text) == [(code, field, f"r.yaml:{line}" if line else "r.yaml")]


def test_of_an_environment_a_class_is_asked_for(sentences: Any) -> None:
    source = "{kind: environment, path: game.py, turns: 2, observation_tokens: 9}"
    (sentence,) = sentences(WORLD + f"rewards: {{sources: [{source}]}}")
    assert sentence == (
        "r.yaml:2: rewards.sources.0.path: 'game.py' names no class. Write module:class or file.py:class."
    )


def test_an_environment_that_nothing_learns_from_is_refused(spots: Any) -> None:
    source = "{kind: environment, path: 'g.py:Game', turns: 2, observation_tokens: 9}"
    text = WORLD + f"stages: [sft, dpo]\nrewards: {{sources: [{source}]}}"
    assert spots(text) == [("idle-environment", "rewards.sources.0", "r.yaml:3")]


def test_rows_that_are_missing_are_named_with_the_stage_that_needs_them(sentences: Any) -> None:
    (sentence,) = sentences(BASE + "stages: [ppo]\nrewards: {sources: [{kind: model, path: org/judge}]}")
    assert sentence == (
        "r.yaml: data: stage ppo needs prompts, demonstrations, preferences or ratings, and none are named. "
        "Add data.prompts.path, or take ppo out of stages."
    )


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        (BASE + "data: {demonstrations: {path: 5}, preferences: {path: x}}", "wrong-type", "data.demonstrations.path"),
        ("base: org/model\n" + data(DEMONSTRATIONS, PREFERENCES), "wrong-type", "base"),
        (WORLD + "data: {max_length: no}\nrollout: {max_new_tokens: 600}", "wrong-type", "data.max_length"),
        (WORLD + "stages: [sft, rewrd, ppo]", "wrong-value", "stages.1"),
        (WORLD + "stages: [ppo]\nrewards: {sources: [{kind: stag}]}", "wrong-value", "rewards.sources.0.kind"),
        (WORLD + "ppo: {episodes: 64, minibatches: 5, responses_per_prompt: 7}", "contradiction", "ppo"),
    ],
)
def test_what_would_follow_from_a_wrong_field_is_not_reported(spots: Any, text: str, code: str, field: str) -> None:
    assert [spot[:2] for spot in spots(text)] == [(code, field)]


def test_fields_are_checked_beside_others_that_are_wrong(spots: Any) -> None:
    text = WORLD + "seed: x\nstages: [sft, ppo]\nrollout: {max_new_tokens: 512, top_p: 0.9}"
    codes = [code for code, _, _ in spots(text)]
    assert codes == ["no-reward-stage", "wrong-type", "unknown-key", "no-room"]
