"""What must hold between sections."""

import pytest

WORLD = "world: {}\n"
BASE = "base: {path: org/model}\n"
NF4 = "base: {path: org/model, quantize: nf4}\n"
DEMONSTRATIONS, PREFERENCES, PROMPTS = (
    f"{name}: {{path: org/rows}}" for name in ("demonstrations", "preferences", "prompts")
)


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
        BASE + data(DEMONSTRATIONS, PREFERENCES) + "stages: [sft, dpo]",
        BASE + data(PREFERENCES) + "stages: [reward, ppo]",
        BASE + data(PROMPTS) + "stages: [ppo]\nppo: {rewards: [{kind: model, path: org/judge}]}",
        BASE + data(PROMPTS) + "stages: [ppo]\nppo: {rewards: [{kind: function, path: 'a.b:c'}]}",
        WORLD + "judges: {a: 'package.module:function', b: 'C:\\folder\\file.py:function'}",
        WORLD + "stages: [sft]\nppo: {max_new_tokens: 512}",
        WORLD + "ppo: {max_new_tokens: 511}",
        NF4 + data(DEMONSTRATIONS, PREFERENCES),
        NF4 + data(DEMONSTRATIONS) + "stages: [sft]\nroles: separate",
        NF4 + data(PREFERENCES) + "stages: [reward]\nsft: {method: full}",
        WORLD + "lora: {layers: 0.5}",
        WORLD + "roles: separate\nlora: {layers: 1.0}",
        WORLD + "roles: separate\nlora: {layers: 0.5}\nstages: [sft, reward]",
    ],
)
def test_a_sound_recipe_is_accepted(load, text: str) -> None:
    load(text)


NEEDS = "Add data.{0}.path, or take {1} out of stages."


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("seed: 1", "r.yaml: the recipe names neither a base model nor the embedded world."),
        (WORLD + BASE, "r.yaml:1: world: stands beside base, and a run begins with one of them. Remove one;"),
        (WORLD + data(PROMPTS), "r.yaml:2: data.prompts: the embedded world brings its own rows. Remove it, or world."),
        (WORLD + "stages: [sft, sft]", "r.yaml:2: stages: has a stage twice, or before one it builds on. Write [sft]."),
        (WORLD + "stages: [ppo, reward]", "r.yaml:2: stages: has a stage twice, or before one it builds on."),
        (WORLD + "stages: []", "r.yaml:2: stages: expected at least one entry, got an empty list."),
        (
            WORLD + "stages: [sft, ppo]",
            "r.yaml: rewards.sources.0: is the model of the reward stage, which is not among",
        ),
        (
            WORLD + "stages: [ppo]\nppo:\n  rewards:\n  - {kind: function, path: 'a:b'}\n  - {kind: stage}",
            "r.yaml:6: rewards.sources.1: is the model of the reward stage, which is not among the stages.",
        ),
        (
            BASE + data(PREFERENCES),
            "r.yaml:2: data: stage sft needs demonstrations, and none are named. "
            + NEEDS.format("demonstrations", "sft"),
        ),
        (
            BASE + data(DEMONSTRATIONS),
            "r.yaml:2: data: stage reward needs preferences, and none are named. "
            + NEEDS.format("preferences", "reward"),
        ),
        (BASE + data(DEMONSTRATIONS) + "stages: [dpo]", "r.yaml:2: data: stage dpo needs preferences, and none are"),
        (
            BASE + "stages: [ppo]\nppo: {rewards: [{kind: model, path: org/judge}]}",
            "r.yaml: data: stage ppo needs prompts, demonstrations or preferences, and none are named.",
        ),
        (
            BASE + data(DEMONSTRATIONS, f"heldout_{PREFERENCES}") + "stages: [sft]",
            "r.yaml:2: data.heldout_preferences: stands without data.preferences. Name both, or neither.",
        ),
        (WORLD + "judges: {a: module}", "r.yaml:2: judges.a: 'module' names no function. Write module:function or"),
        (WORLD + "judges: {a: 'module:'}", "r.yaml:2: judges.a: 'module:' names no function."),
        (WORLD + "judges: {a: ':f'}", "r.yaml:2: judges.a: ':f' names no function."),
        (
            WORLD + "ppo: {rewards: [{kind: function, path: m.f}]}",
            "r.yaml:2: rewards.sources.0.path: 'm.f' names no function. Write module:function or file.py:function.",
        ),
        (
            WORLD + "ppo: {max_new_tokens: 512}",
            "r.yaml:2: rollout.max_new_tokens: leaves no room for a prompt: data.max_length is 512, prompt and response "
            "together. Lower it, or raise data.max_length.",
        ),
        (
            NF4 + data(DEMONSTRATIONS, PREFERENCES) + "roles: separate",
            "r.yaml:3: roles: separate roles train all weights, and base.quantize: nf4 freezes them. Set roles:",
        ),
        (
            NF4 + data(DEMONSTRATIONS) + "stages: [sft]\nsft: {method: full}",
            "r.yaml:4: sft.method: full trains all weights, and base.quantize: nf4 freezes them. Set it to lora,",
        ),
        (
            "base: {path: org/model, quantize: nf4, gguf_file: a.gguf}\n" + data(DEMONSTRATIONS) + "stages: [sft]",
            "r.yaml:1: base.quantize: nf4 cannot be made of a GGUF file. Save the model as safetensors first,",
        ),
        (
            WORLD + "roles: separate\nlora: {layers: 0.5}\nstages: [reward, dpo]",
            "r.yaml:3: lora.layers: is 0.5, and separate roles train all layers. Set it to 1, or roles: shared.",
        ),
        (WORLD + "roles: seperate", "r.yaml:2: roles: expected 'shared' or 'separate', got the text 'seperate'."),
    ],
)
def test_sections_that_contradict_each_other_are_named(complaints, text: str, complaint: str) -> None:
    (told,) = complaints(text)
    assert told.startswith(complaint)
