"""Where a score comes from: a Python function, a classifier that reads text, the reward stage, and their sum."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from truing.core.errors import ModelError, RewardError
from truing.core.normalisation import Normalisation
from truing.core.records import Episode, Message, Sample
from truing.data.endings import Endings
from truing.models.heads import scalar_head
from truing.models.roles import Role
from truing.rewards.combined import WeightedPart, WeightedReward
from truing.rewards.sources import ClassifierReward, RoleReward
from truing.score import as_sample

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
CPU = torch.device("cpu")
ENDINGS = Endings((EOS,), (EOS,), (EOS,), (EOS,))


def _sample(prompt: str, response: str, finished: bool = True) -> Sample:
    encode = tiny.tokenizer().encode
    return Sample(prompt, response, tuple(encode(prompt)), (*encode(response), *[EOS] * finished), finished)


@dataclass(frozen=True)
class _Source:
    """Gives these scores, whatever it is asked."""

    scores: Sequence[float]

    def score(self, samples: Sequence[Sample]) -> list[float]:
        return list(self.scores)


SAMPLES = [_sample("how?", "so."), _sample("why?", "because of it", finished=False), _sample("who is it?", "me")]


@pytest.mark.parametrize("pad", ["<|pad|>", None, tiny.EOS])
@pytest.mark.parametrize("budget", [1, 1000])
def test_a_classifier_reads_the_text_in_its_own_tokens(pad: str | None, budget: int, tmp_path: Path) -> None:
    directory = tiny.classifier(tmp_path, pad=pad)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    expected = []
    for sample in SAMPLES:
        text = f"{sample.prompt}{sample.response}{tiny.EOS * sample.finished}"
        with torch.no_grad():
            expected.append(float(model(**tokenizer(text, return_tensors="pt")).logits))
    scores = ClassifierReward.load(str(directory), CPU, budget, tiny.TODAY).score(SAMPLES)
    assert scores == pytest.approx(expected, abs=1e-5)
    assert len(set(scores)) == 3


def test_a_classifier_scores_in_single_precision_whatever_its_files_are_in(tmp_path: Path) -> None:
    directory = tiny.classifier(tmp_path)
    AutoModelForSequenceClassification.from_pretrained(directory).bfloat16().save_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32)
    text = AutoTokenizer.from_pretrained(directory)(f"how?so.{tiny.EOS}", return_tensors="pt")
    with torch.no_grad():
        expected, rounded = float(model(**text).logits), float(model.bfloat16()(**text).logits)
    (score,) = ClassifierReward.load(str(directory), CPU, 1000, tiny.TODAY).score(SAMPLES[:1])
    assert score == pytest.approx(expected, abs=1e-6)
    assert abs(rounded - expected) > 1e-4


def test_a_classifier_reads_a_conversation_through_its_chat_template(tmp_path: Path) -> None:
    directory = tiny.classifier(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}!{% endfor %}"
    tokenizer.save_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    sample = Sample((Message("user", "how?"),), "so.", (1,), (2,), True)
    talk = Episode((Message("assistant", "so."), Message("user", "no"), Message("assistant", "ah.")), 0.0, 4)
    of_turns = replace(sample, response="so.\n\nuser: no\n\nassistant: ah.", episode=talk)
    texts = "user: how?!assistant: so.!", "user: how?!assistant: so.!user: no!assistant: ah.!"
    with torch.no_grad():
        expected = [float(model(**tokenizer(text, return_tensors="pt")).logits) for text in texts]
    reward = ClassifierReward.load(str(directory), CPU, 1000, tiny.TODAY)
    assert reward.score([sample, of_turns]) == pytest.approx(expected, abs=1e-5)


def test_a_classifier_reads_what_a_message_of_a_row_has_beside_its_text(tmp_path: Path) -> None:
    directory = tiny.classifier(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.thought }}, {{ m.content }}!{% endfor %}"
    tokenizer.save_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    row = as_sample((Message("user", "how?"),), (Message("assistant", "so.", json.dumps({"thought": "hm"})),))
    texts = "user: , how?!assistant: hm, so.!", "user: , how?!assistant: hm, ah.!"
    with torch.no_grad():
        expected = [float(model(**tokenizer(text, return_tensors="pt")).logits) for text in texts]
    reward = ClassifierReward.load(str(directory), CPU, 1000, tiny.TODAY)
    assert reward.score([row, replace(row, response="ah.")]) == pytest.approx(expected, abs=1e-5)


def test_a_classifier_of_two_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has 2 labels; a reward model has one\. Take a model with num_labels: 1"):
        ClassifierReward.load(str(tiny.classifier(tmp_path, labels=2)), CPU, 1000, tiny.TODAY)


@pytest.mark.parametrize("limited", ["model", "tokenizer"])
def test_a_text_longer_than_the_classifier_reads_is_refused(limited: str, tmp_path: Path) -> None:
    source = ClassifierReward.load(str(tiny.classifier(tmp_path)), CPU, 1000, tiny.TODAY)
    longest = max(len(f"{sample.prompt}{sample.response}") + sample.finished for sample in SAMPLES)

    def limit(tokens: int) -> None:
        if limited == "model":
            source.model.config.max_position_embeddings = tokens
        else:
            source.form.tokenizer.model_max_length = tokens

    limit(longest)
    assert len(source.score(SAMPLES)) == 3
    limit(longest - 1)
    told = f"come to {longest} of the classifier's tokens, and it reads {longest - 1}. Lower data.max_length or"
    with pytest.raises(RewardError, match=told) as refusal:
        source.score(SAMPLES)
    assert refusal.value.where == str(tmp_path)


def test_a_language_model_is_no_classifier_and_no_head_is_made_up_for_it(tmp_path: Path) -> None:
    model = tiny.model()
    model.config.num_labels = 1
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no sequence-classification model.*its files lack score\.weight"):
        ClassifierReward.load(str(tmp_path), CPU, 1000, tiny.TODAY)


def test_no_classifier_at_the_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, check=lambda error: error.code == "model/not-loaded") as refusal:
        ClassifierReward.load(str(tmp_path), CPU, 1000, tiny.TODAY)
    assert refusal.value.where == str(tmp_path)


@pytest.mark.parametrize(
    ("damaged", "content"),
    [
        ("config.json", '{"model_type": "llama", "num_attention_heads": 0}'),
        ("config.json", '{"model_type": "llama", "dtype": "bogus"}'),
        ("tokenizer_config.json", "[]"),
        ("tokenizer.json", "[]"),
    ],
)
def test_a_damaged_classifier_is_refused_whatever_the_library_raises(
    damaged: str, content: str, tmp_path: Path
) -> None:
    (tiny.classifier(tmp_path) / damaged).write_text(content)
    with pytest.raises(ModelError, check=lambda error: error.code == "model/not-loaded"):
        ClassifierReward.load(str(tmp_path), CPU, 1000, tiny.TODAY)


def test_a_text_that_the_classifiers_tokenizer_fails_on_is_named(tmp_path: Path) -> None:
    file = tiny.classifier(tmp_path) / "tokenizer.json"
    words = json.loads(file.read_text())
    del words["model"]["vocab"]["?"]  # which stands for what is unknown
    file.write_text(json.dumps(words))
    source = ClassifierReward.load(str(tmp_path), CPU, 1000, tiny.TODAY)
    with pytest.raises(ModelError, match=r"its tokenizer cannot read .* \(.*Missing \[UNK\] token"):
        source.score([Sample("\u00e9?", "a", (1,), (2,), finished=False)])


def test_a_role_scores_the_last_token_of_each_sample() -> None:
    model = tiny.model()
    role = Role(model, head=scalar_head(model, seed=1, bias=False))
    assert role.head is not None
    expected = []
    for sample in SAMPLES:
        tokens = torch.tensor([[*sample.prompt_tokens, *sample.response_tokens]])
        with torch.no_grad():
            last = model(tokens, output_hidden_states=True).hidden_states[-1][0, -1]
            expected.append(float(last @ role.head.weight[0]))
    assert RoleReward(role, PAD, ENDINGS, token_budget=20).score(SAMPLES) == pytest.approx(expected, abs=1e-5)


def test_the_sum_weights_normalised_sources() -> None:
    length, dots = _Source([len(s.response) for s in SAMPLES]), _Source([s.response.count(".") for s in SAMPLES])
    total = WeightedReward(
        (
            WeightedPart("length", length, 0.5, Normalisation(mean=4.0, std=2.0)),
            WeightedPart("dots", dots, -3.0, Normalisation()),
        )
    )
    expected = [0.5 * (len(s.response) - 4) / 2 - 3 * s.response.count(".") for s in SAMPLES]
    assert total.score(SAMPLES) == pytest.approx(expected)
    assert not math.isclose(expected[0], expected[1])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_named_with_its_source_and_response_or_dropped(bad: float) -> None:
    part = WeightedPart("the model", _Source([1.0, bad, 3.0]), 1.0, Normalisation())
    with pytest.raises(RewardError, match=rf"^the model: gave {bad} for the response 'because of it'\..*on_bad_score"):
        WeightedReward((part,)).score(SAMPLES)
    first, dropped, last = WeightedReward((part,), drops=True).score(SAMPLES)
    assert (first, last) == (1.0, 3.0)
    assert not math.isfinite(dropped)
