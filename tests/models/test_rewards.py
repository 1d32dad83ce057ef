"""Where a score comes from: a Python function, a classifier that reads text, the reward stage, and their sum."""

import math
import statistics
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from truing.errors import ModelError, RewardError
from truing.models.rewards import (
    ClassifierReward,
    FunctionReward,
    Normalisation,
    RoleReward,
    WeightedPart,
    WeightedReward,
)
from truing.models.roles import Role, scalar_head
from truing.records import Message, Sample

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
CPU = torch.device("cpu")


def _sample(prompt: str, response: str, finished: bool = True) -> Sample:
    encode = tiny.tokenizer().encode
    return Sample(prompt, response, tuple(encode(prompt)), (*encode(response), *[EOS] * finished), finished)


SAMPLES = [_sample("how?", "so."), _sample("why?", "because of it", finished=False), _sample("who is it?", "me")]


def _function(place: Path, body: str) -> FunctionReward:
    file = place / "own_reward.py"
    file.write_text(f"def score(prompts, responses):\n    {body}\n")
    return FunctionReward.load(f"{file}:score")


def test_a_function_gets_prompts_and_responses_and_gives_the_scores(tmp_path: Path) -> None:
    function = _function(tmp_path, "return [len(p) + len(r) / 100 for p, r in zip(prompts, responses)]")
    assert function.score(SAMPLES) == [4.03, 4.13, 10.02]


def test_a_function_sees_a_conversation_as_role_and_content(tmp_path: Path) -> None:
    sample = Sample((Message("user", "hello"),), "so", (1,), (2,), True)
    function = _function(tmp_path, "return [float(p == [{'role': 'user', 'content': 'hello'}]) for p in prompts]")
    assert function.score([sample]) == [1.0]


def test_a_function_is_imported_from_the_python_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reward_on_the_path.py").write_text("def score(prompts, responses):\n    return [1] * len(prompts)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert FunctionReward.load("reward_on_the_path:score").score(SAMPLES) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("values", ["torch.tensor([1.0, 2.0, 3.0])", "numpy.array([1, 2, 3])", "(True, 2, 3.0)"])
def test_a_function_may_return_tensors_arrays_and_whole_numbers(values: str, tmp_path: Path) -> None:
    assert _function(tmp_path, f"import numpy, torch; return {values}").score(SAMPLES) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_module:score", "No module named 'no_such_module'"),
        ("math:no_such_function", "no attribute 'no_such_function'"),
        ("math", "ValueError"),
        ("", "ValueError"),
        ("/no/such/file.py:score", "No such file"),
    ],
)
def test_a_function_that_is_not_there_is_refused_with_how_to_write_it(path: str, reason: str) -> None:
    with pytest.raises(RewardError, match=r"Write it as module:function") as refusal:
        FunctionReward.load(path)
    assert reason in str(refusal.value)
    assert refusal.value.where == path


@pytest.mark.parametrize("source", ["1 / 0", "def", "import no_such_thing", "raise SystemExit(0)"])
def test_a_module_that_cannot_be_run_is_refused(source: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(RewardError, match="cannot be imported"):
        FunctionReward.load(f"{tmp_path / 'broken.py'}:score")


@pytest.mark.parametrize(
    "place", ["import torch; torch.set_grad_enabled(False)\n{}", "{}    torch.set_grad_enabled(False)\n"]
)
def test_a_function_that_turns_gradients_off_does_so_for_itself_alone(place: str, tmp_path: Path) -> None:
    head = "import torch\ndef score(prompts, responses):\n"
    (tmp_path / "own.py").write_text(place.format(head) + "    return [0.0] * len(responses)\n")
    assert FunctionReward.load(f"{tmp_path / 'own.py'}:score").score(SAMPLES) == [0.0, 0.0, 0.0]
    assert torch.is_grad_enabled()


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(RewardError, match=r"math:pi: is not a function\."):
        FunctionReward.load("math:pi")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return [1.0]", "was given 3 responses and returned 1."),
        ("return [1.0] * 4", "was given 3 responses and returned 4."),
        ("return None", "was given 3 responses and returned None."),
        ("return 0.5", "was given 3 responses and returned 0.5."),
        ("return [1.0, float('nan'), 1.0]", "returned nan for the response 'because of it'."),
        ("return [1.0, 1.0, float('inf')]", "returned inf for the response 'me'."),
        ("return [None, 1.0, 1.0]", "returned None for the response 'so.'."),
        ("return [1.0, 'high', 1.0]", "returned 'high' for the response 'because of it'."),
        ("return [1.0, [2.0, 3.0], 1.0]", "returned [2.0, 3.0] for the response 'because of it'."),
        ("return 1 / 0", "raised ZeroDivisionError: division by zero."),
        ("raise SystemExit(0)", "raised SystemExit: 0."),
        ("return {0: 1.0, 1: 2.0, 2: 3.0}", "was given 3 responses and returned {0: 1.0, 1: 2.0, 2: 3.0}."),
        ("return {1.0, 2.0, 3.0}", "was given 3 responses and returned {1.0, 2.0, 3.0}."),
        ("return '123'", "was given 3 responses and returned '123'."),
        ("return (1.0 for _ in responses)", "was given 3 responses and returned <generator"),
        ("import numpy; return numpy.array(1.0)", "was given 3 responses and returned array(1.)."),
        ("return [1.0, '2.0', 1.0]", "returned '2.0' for the response 'because of it'."),
        ("return [1.0, 10**400, 1.0]", "for the response 'because of it'."),
    ],
)
def test_what_is_no_score_is_refused_with_what_was_returned(body: str, told: str, tmp_path: Path) -> None:
    function = _function(tmp_path, body)
    with pytest.raises(RewardError) as refusal:
        function.score(SAMPLES)
    assert told in str(refusal.value)
    assert refusal.value.where == function.name
    assert refusal.value.mend


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
    scores = ClassifierReward.load(str(directory), CPU, budget).score(SAMPLES)
    assert scores == pytest.approx(expected, abs=1e-5)
    assert len(set(scores)) == 3


def test_a_classifier_reads_a_conversation_through_its_chat_template(tmp_path: Path) -> None:
    directory = tiny.classifier(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}!{% endfor %}"
    tokenizer.save_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    sample = Sample((Message("user", "how?"),), "so.", (1,), (2,), True)
    with torch.no_grad():
        expected = float(model(**tokenizer("user: how?!assistant: so.!", return_tensors="pt")).logits)
    assert ClassifierReward.load(str(directory), CPU, 1000).score([sample]) == pytest.approx([expected], abs=1e-5)


def test_a_classifier_of_two_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has 2 labels; a reward model has one\. Take a model with num_labels: 1"):
        ClassifierReward.load(str(tiny.classifier(tmp_path, labels=2)), CPU, 1000)


@pytest.mark.parametrize("limited", ["model", "tokenizer"])
def test_a_text_longer_than_the_classifier_reads_is_refused(limited: str, tmp_path: Path) -> None:
    source = ClassifierReward.load(str(tiny.classifier(tmp_path)), CPU, 1000)
    longest = max(len(f"{sample.prompt}{sample.response}") + sample.finished for sample in SAMPLES)

    def limit(tokens: int) -> None:
        if limited == "model":
            source.model.config.max_position_embeddings = tokens
        else:
            source.tokenizer.model_max_length = tokens

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
        ClassifierReward.load(str(tmp_path), CPU, 1000)


def test_no_classifier_at_the_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no sequence-classification model could be loaded") as refusal:
        ClassifierReward.load(str(tmp_path), CPU, 1000)
    assert refusal.value.where == str(tmp_path)


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
    assert RoleReward(role, PAD, token_budget=20).score(SAMPLES) == pytest.approx(expected, abs=1e-5)


def test_normalised_scores_have_mean_zero_and_population_deviation_one() -> None:
    scores = [1.0, 2.0, 4.0, 9.0]
    measured = Normalisation.measure(scores, where="here")
    assert measured.mean == pytest.approx(statistics.fmean(scores))
    assert measured.std == pytest.approx(statistics.pstdev(scores))
    normal = measured.apply(scores)
    assert statistics.fmean(normal) == pytest.approx(0.0, abs=1e-12)
    assert statistics.pstdev(normal) == pytest.approx(1.0)


def test_a_source_that_never_varies_is_refused() -> None:
    with pytest.raises(RewardError, match=r"here: gives every one of 3 SFT samples the same score \(2\)"):
        Normalisation.measure([2.0, 2.0, 2.0], where="here")


def test_the_sum_weights_normalised_sources() -> None:
    length = FunctionReward("length", lambda prompts, responses: [len(response) for response in responses])
    dots = FunctionReward("dots", lambda prompts, responses: [response.count(".") for response in responses])
    total = WeightedReward(
        (WeightedPart(length, 0.5, Normalisation(mean=4.0, std=2.0)), WeightedPart(dots, -3.0, Normalisation()))
    )
    expected = [0.5 * (len(s.response) - 4) / 2 - 3 * s.response.count(".") for s in SAMPLES]
    assert total.score(SAMPLES) == pytest.approx(expected)
    assert not math.isclose(expected[0], expected[1])
