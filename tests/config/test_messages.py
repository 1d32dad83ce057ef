"""The sentences: what stands in a recipe, and what its writer reads about it."""

from typing import Any

import pytest

from truing.core.errors import RecipeError

WORLD = "world: {}\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        # the hint where it can be guessed
        ("ppo: {whiten_rewards: no}", "ppo.whiten_rewards: expected true or false, got the text 'no'. Write false."),
        ("ppo: {whiten_rewards: On}", "ppo.whiten_rewards: expected true or false, got the text 'On'. Write true."),
        ("ppo: {whiten_rewards: 1}", "ppo.whiten_rewards: expected true or false, got 1."),
        (
            "guard: {judge: people}",
            "guard.judge: expected a section, got the text 'people'. Write judge: {kind: people}.",
        ),
        (
            "guard: {judge: a.py:b}",
            "guard.judge: expected a section, got the text 'a.py:b'. Write judge: {path: a.py:b}.",
        ),
        ("guard: {judge: {kind: pairs}}", "guard.judge: kind pairs needs a path: {kind: pairs, path: rules.py:judge}"),
        (
            "guard: {judge: {path: a.py:b}}",
            "guard.judge: kind people has no path; a function is of kind pairs or scores",
        ),
        ("guard: {judge: {kind: none, page: {}}}", "guard.judge: kind none has no page: that is for people"),
        ("guard: {judge: {page: {each: 2}}}", "guard.judge.page: each (2) is more than people (1)"),
        ("guard: {judge: {page: {each: 0}}}", "guard.judge.page.each: expected at least 1, got 0."),
        ("guard: {judge: {page: {wait_minutes: -1}}}", "guard.judge.page.wait_minutes: expected at least 0, got -1."),
        ("guard: {judge: {page: {port: 70000}}}", "guard.judge.page.port: expected at most 65535, got 70000."),
        ("seed: 1_000", "seed: expected a whole number, got the text '1_000'. Write 1000."),
        ("seed: 1e3", "seed: expected a whole number, got 1000.0. Write 1000."),
        ("seed: 1.5", "seed: expected a whole number, got 1.5."),
        ("seed: '7'", "seed: expected a whole number, got the text '7'. Write 7."),
        ("ppo: {gamma: '0.9'}", "ppo.gamma: expected a number, got the text '0.9'. Write 0.9."),
        ("ppo: {gamma: true}", "ppo.gamma: expected a number, got true."),
        ("ppo: {gamma: .nan}", "ppo.gamma: expected a finite number, got nan."),
        ("name: 1.5", 'name: expected text, got 1.5. Put it in quotes: "1.5".'),
        (
            "name: a/b",
            "name: expected letters, digits, '.', '_' and '-', beginning with a letter or digit, got the text",
        ),
        ("track: wandb", "track: expected a list, got the text 'wandb'. Write [wandb]."),
        (
            "track: [wandbb]",
            "track.0: expected 'tensorboard', 'wandb', 'trackio' or 'mlflow', got the text 'wandbb'. Did",
        ),
        ("lora: {targets: 3}", "lora.targets: expected text or a list, got 3."),
        ("lora: {targets: [3]}", 'lora.targets.0: expected text, got 3. Put it in quotes: "3".'),
        ("lora: 3", "lora: expected a section, got 3. Its keys are rank, alpha, targets, layers."),
        # limits
        ("seed: -1", "seed: expected at least 0, got -1."),
        ("rollout: {temperature: 0}", "rollout.temperature: expected at least 1e-12, got 0."),
        ("rollout: {temperature: 1e-300}", "rollout.temperature: expected at least 1e-12, got 1e-300."),
        (
            "sft: {optimiser: {learning_rate: 1e300}}",
            "sft.optimiser.learning_rate: expected at most 1e+09, got 1e+300.",
        ),
        ("ppo: {kl: {beta: 1e308}}", "ppo.kl.beta: expected at most 1e+09, got 1e+308."),
        (
            "rewards: {sources: [{kind: stage, weight: -1e308}]}",
            "rewards.sources.0.weight: expected at least -1e+09, got -1e+308.",
        ),
        ("rewards: {missing_eos: {value: 1e39}}", "rewards.missing_eos.value: expected at most 1e+09, got 1e+39."),
        ("ppo: {updates: 1000000000000}", "ppo.updates: expected at most 1e+09, got 1000000000000."),
        ("lora: {rank: 1000000000000}", "lora.rank: expected at most 4096, got 1000000000000."),
        ("ppo: {gamma: 1.5}", "ppo.gamma: expected at most 1, got 1.5."),
        (
            "data: {heldout: own.jsonl}",
            "data.heldout: expected a number, got the text 'own.jsonl'. A file goes into data.heldout_demonstrations "
            "or data.heldout_preferences or data.heldout_ratings, as {path: FILE}.",
        ),
        ("data: {heldout: 1}", "data.heldout: expected less than 1, got 1."),
        ("ppo: {episodes: 10, minibatches: 3}", "ppo: episodes (10) must be a multiple of minibatches (3)."),
        (
            "rewards: {sources: [{}]}",
            "rewards.sources.0.kind: is missing. It means: stage: the reward stage's model; model: ",
        ),
        (
            "rewards: {sources: [{kind: model}]}",
            "rewards.sources.0: kinds model, function, judge and environment need a path; kind stage has none.",
        ),
        # unknown keys: the nearest here, the namesake elsewhere, or all there are
        (
            "sft: {learning_rate: 1.0}",
            "sft.learning_rate: there is no such key. Did you mean sft.optimiser.learning_rate?",
        ),
        ("ppo: {optimizer: {}}", "ppo.optimizer: there is no such key. Did you mean optimiser?"),
        ("gamma: 1.0", "gamma: there is no such key. Did you mean ppo.gamma?"),
        ("lora: {zzz: 1}", "lora.zzz: there is no such key. The keys here are rank, alpha, targets, layers."),
        (
            "ppo.gamma: 1.0",
            "ppo.gamma: there is no such key. Keys with dots belong to --set; in a file, nest the sections.",
        ),
    ],
)
def test_a_wrong_value_is_named_as_it_was_written(sentences: Any, text: str, complaint: str) -> None:
    (sentence,) = sentences(WORLD + text)
    assert sentence.startswith(f"r.yaml:2: {complaint}")


def test_a_path_given_for_a_section_is_put_where_it_belongs(sentences: Any) -> None:
    (sentence,) = sentences("stages: [sft]\nbase: org/model\ndata: {demonstrations: {path: x}}")
    assert sentence == "r.yaml:2: base: expected a section, got the text 'org/model'. Write base: {path: org/model}."


def test_long_text_is_shown_short(sentences: Any) -> None:
    (sentence,) = sentences(f"{WORLD}seed: {'x' * 500}")
    assert len(sentence) < 150


def test_several_problems_are_listed_below_their_number(load: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        load(f"{WORLD}sead: 1", "seed=x")
    first, second, third = str(caught.value).splitlines()
    assert first.endswith("r.yaml: 2 problems.")
    assert second.endswith("r.yaml:2: sead: there is no such key. Did you mean seed?")
    assert third == "  --set seed=x: expected a whole number, got the text 'x'."
