"""The code on a reward model's card gives the scores that PPO is given, from text alone."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny

from truing.core.records import Message, Sample, Text
from truing.data.chat import encode_completion, encode_prompt
from truing.models.layout import policy_roles
from truing.models.reward_card import _names
from truing.rewards.sources import RoleReward
from truing.stages.reward import train_reward

ASKED = [("how?", "aha."), ("why so?", "zz, oho"), ("ab e?", "b")]


@pytest.mark.parametrize("roles", ["shared", "separate"])
@pytest.mark.parametrize("chat", [False, True])
def test_its_code_gives_the_scores_of_the_stage(chat: bool, roles: str, tmp_path: Path) -> None:
    made = (tiny.chat_recipe if chat else tiny.recipe)(tmp_path, roles=roles)
    assert made.base is not None
    job = tiny.job(made, tmp_path, "reward")
    train_reward(job)
    files = tiny.RewardModelFiles(job.directory.model, job.directory.adapter)
    roles_of_ppo = policy_roles(made, made.base, files, lambda: job.tokens())
    assert roles_of_ppo.reward is not None
    base = roles_of_ppo.base
    form = base.text_format(made.data)

    def sample(prompt: Text, response: str) -> Sample:
        tokens = encode_prompt(form, prompt), encode_completion(form, prompt, response)
        return Sample(prompt, response, *tokens, finished=True)

    prompts: list[Text] = [(Message("user", asked),) if chat else asked for asked, _ in ASKED]
    samples = [sample(prompt, said) for prompt, (_, said) in zip(prompts, ASKED, strict=True)]
    stage = RoleReward(roles_of_ppo.reward, base.tokenizer.pad_token_id, base.endings, 1000).score(samples)

    (code,) = re.findall(r"```python\n(.*?)```", (job.directory.model / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("path/to/this/folder", str(job.directory.model)), names)
    said = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in ASKED]
    found = [names["score"](one) for one in said] if chat else [names["score"](*one) for one in ASKED]
    assert found == pytest.approx(roles_of_ppo.normalisation.apply(stage), abs=1e-4)
    assert len({round(score, 3) for score in found}) == len(ASKED)


def test_a_token_ends_neither_the_line_nor_the_code_that_it_stands_in() -> None:
    hostile: Any = SimpleNamespace(convert_ids_to_tokens=lambda _: ["</s>\n    import os", "```"])
    assert _names(hostile, (1, 2)) == "</s>⟨U+000A⟩    import os ⟨U+0060⟩⟨U+0060⟩⟨U+0060⟩"
