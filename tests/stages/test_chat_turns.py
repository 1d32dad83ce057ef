"""Stages on conversations, where a turn ends in another token than the tokenizer's eos and a line break follows it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import tokenizer_shapes as shapes
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from truing.chat import open_models
from truing.config.recipe import Recipe
from truing.core.errors import DataError
from truing.core.records import Message, Sample
from truing.data.chat import encode_completion, encode_prompt
from truing.models.layout import policy_roles
from truing.pipeline.execute import run_pipeline
from truing.rewards.sources import ClassifierReward, RoleReward
from truing.rollout.local import LocalEngine
from truing.runs.progress import SilentProgress
from truing.stages.reward import train_reward
from truing.training.job import Job

WORDS = shapes.byte_bpe("gemma")
EOS, TURN = WORDS.eos_token_id, WORDS.convert_tokens_to_ids("<end_of_turn>")


def base(place: Path, template: str | None = "gemma") -> None:
    """A chat model whose generation config names two ends."""
    words = shapes.byte_bpe(template)
    model = tiny.model(vocabulary=len(words))
    model.config.eos_token_id = words.eos_token_id
    model.generation_config.eos_token_id = [EOS, TURN]
    model.save_pretrained(place)
    words.save_pretrained(place)


def recipe(place: Path, template: str | None = "gemma", **changes: Any) -> Recipe:
    """Of conversations."""
    rows = [{"role": "user", "content": row["prompt"]} for row in tiny.preferences()]
    made = tiny.recipe(place, **changes)
    for name, sides in (("preferences", ("chosen", "rejected")), ("demonstrations", ("completion",))):
        texts = getattr(tiny, name)()
        said = [
            {"prompt": [turn], **{side: [{"role": "assistant", "content": text[side]}] for side in sides}}
            for turn, text in zip(rows, texts, strict=True)
        ]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    base(place / "base", template)
    return made


def trained_reward(place: Path) -> tuple[Recipe, Job]:
    made = recipe(place)
    job = tiny.job(made, place, "reward")
    train_reward(job)
    return made, job


def sample(question: str, answer: str, form: Any, end: int | None) -> Sample:
    """A response that this token ended, or that was cut off."""
    prompt = (Message("user", question),)
    content = form.endings.content(encode_completion(form, prompt, answer))
    tokens = content if end is None else (*content, end)
    return Sample(prompt, answer, encode_prompt(form, prompt), tokens, end is not None)


def test_one_reward_model_gives_one_score_by_every_way_that_it_is_asked(tmp_path: Path) -> None:
    made, job = trained_reward(tmp_path)
    assert made.base is not None
    roles = policy_roles(made, made.base, tiny.RewardModelFiles(job.directory.model, job.directory.adapter))
    form = roles.base.text_format(made.data)
    asked = [("How?", "So and so.", TURN), ("Why?", "Since!", EOS), ("Who?", "A fer", None)]
    samples = [sample(*row[:2], form, row[2]) for row in asked]
    assert roles.reward is not None
    stage = RoleReward(roles.reward, roles.base.tokenizer.pad_token_id, roles.base.endings, 1000).score(samples)
    model = ClassifierReward.load(str(job.directory.model), torch.device("cpu"), 1000, tiny.TODAY).score(samples)
    plain = AutoModelForSequenceClassification.from_pretrained(job.directory.model).eval()
    words = AutoTokenizer.from_pretrained(job.directory.model)
    expected = []
    for question, answer, end in asked:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        text = words.apply_chat_template(turns, tokenize=False)
        text = text if end is not None else text.removesuffix("<end_of_turn>\n")  # cut off: not closed
        with torch.no_grad():
            ids = torch.tensor([words.encode(text, add_special_tokens=False)])
            expected.append(float(plain(input_ids=ids).logits))
    assert stage == pytest.approx(expected, abs=1e-4)
    assert model == pytest.approx(expected, abs=1e-4)


def test_the_reward_model_learns_from_the_conversation_as_the_template_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from truing.stages import reward

    seen = []
    learn: Callable[..., None] = reward.learn_rows
    monkeypatch.setattr(reward, "learn_rows", lambda *given, **named: (seen.append(given[2]), learn(*given, **named)))
    trained_reward(tmp_path)
    (rows,) = seen
    pairs = {row["prompt"]: row for row in tiny.preferences()}
    for prompt, chosen in zip(rows.chosen.prompts, rows.chosen.responses, strict=True):
        text = WORDS.decode([*prompt, *chosen])
        (question,) = [asked for asked in pairs if f"user\n{asked.strip()}<end_of_turn>" in text]
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": pairs[question]["chosen"]}]
        assert text == WORDS.apply_chat_template(turns, tokenize=False)


def test_what_is_saved_keeps_the_ends_and_is_asked_as_it_was_trained(tmp_path: Path) -> None:
    made = recipe(tmp_path, stages=["sft"])
    run = run_pipeline(made, tmp_path / "run", SilentProgress())
    saved = json.loads((run.stage("sft").model / "generation_config.json").read_text())
    assert saved["eos_token_id"] == sorted([EOS, TURN])
    assert asked(run, "Ho?") == WORDS.apply_chat_template(
        [{"role": "user", "content": "Ho?"}], tokenize=True, return_dict=False, add_generation_prompt=True
    )


def test_a_base_with_a_template_that_was_trained_on_text_is_asked_in_text(tmp_path: Path) -> None:
    made = tiny.recipe(tmp_path, stages=["sft"])
    base(tmp_path / "base")
    run = run_pipeline(made, tmp_path / "run", SilentProgress())
    assert asked(run, "Ho?") == WORDS.encode("Ho?", add_special_tokens=False)


def test_messages_without_a_template_leave_the_template_that_wrote_them(tmp_path: Path) -> None:
    made = recipe(tmp_path, template=None, stages=["sft"])
    run = run_pipeline(made, tmp_path / "run", SilentProgress())
    words = AutoTokenizer.from_pretrained(run.stage("sft").model)
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert words.apply_chat_template(said, tokenize=False) == "User: a\n\nAssistant: b</s>"
    assert words.decode(asked(run, "a")) == "User: a\n\nAssistant:"


def test_a_refused_turn_is_not_remembered_and_what_was_said_before_counts(tmp_path: Path) -> None:
    run = run_pipeline(recipe(tmp_path, stages=["sft"]), tmp_path / "run", SilentProgress())
    talk = open_models(run, "sft", 8, 1.0)[1]
    alone = talk.model.base.context - len(talk.model.encoded("a")) - 8
    longest = "a" + "b" * alone
    talk.refuse_unanswerable(longest)
    assert not talk.remembers
    with pytest.raises(DataError, check=lambda error: error.code == "data/beyond-context"):
        talk.refuse_unanswerable(longest + "b")
    talk.answer("a")
    assert talk.remembers
    with pytest.raises(DataError, check=lambda error: error.code == "data/beyond-context"):
        talk.refuse_unanswerable(longest)
    talk.refuse_unanswerable("a")


def asked(run: Any, question: str) -> list[int]:
    """The tokens with which the result of SFT is asked."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        generate = LocalEngine.generate

        def spy(self: LocalEngine, prompts: Any, *rest: Any) -> Any:
            seen.append(list(prompts[0]))
            return generate(self, prompts, *rest)

        patch.setattr(LocalEngine, "generate", spy)
        open_models(run, "sft", 2, 1.0)[1].answer(question)
    return seen[0]
