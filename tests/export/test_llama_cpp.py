"""llama.cpp itself reads what was exported as GGUF, and finds the likelihoods and the end that the run has.

Needs llama.cpp's converter on PATH, `xllamacpp` and `sentencepiece`, whose tokenizers the converter knows: left out
where they are not installed.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from truing.config.recipe import Recipe
from truing.core.errors import ModelError
from truing.export.gguf import find_converter
from truing.export.result import Gguf, export_model
from truing.pipeline.execute import run_pipeline
from truing.runs.directory import RunDirectory
from truing.runs.progress import SilentProgress

WORDS = ["abe", "cab", "is", "the", "zebra", "lamp", "kettle", "nice", "aha", "oho"]
TEXT = "ab kettle zebra aha"


@pytest.fixture(scope="module")
def converter() -> list[str]:
    try:
        return find_converter()
    except ModelError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def run(converter: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    place = tmp_path_factory.mktemp("llama-cpp")
    recipe = tiny.recipe(place, stages=["sft"])
    base_of_pieces(place, recipe)
    return run_pipeline(recipe, place / "run", SilentProgress())


def base_of_pieces(place: Path, recipe: Recipe) -> None:
    """In the place of the recipe's base, one whose tokens are pieces of words."""
    pieces = pytest.importorskip("sentencepiece")
    assert recipe.base is not None
    base = Path(recipe.base.path)
    shutil.rmtree(base)
    base.mkdir()
    lines = [" ".join(WORDS[(place + step * 3) % 10] for step in range(8)) for place in range(500)]
    (place / "corpus.txt").write_text("\n".join(lines))
    pieces.SentencePieceTrainer.train(
        input=str(place / "corpus.txt"),
        model_prefix=str(base / "tokenizer"),
        vocab_size=320,
        hard_vocab_limit=False,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False}
    settings |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    words = AutoTokenizer.from_pretrained(base)
    words.save_pretrained(base)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), max_position_embeddings=128, **shape, **ends)).save_pretrained(
        base
    )


def test_the_library_reads_the_runs_logits_from_gguf(run: RunDirectory, converter: list[str], tmp_path: Path) -> None:
    export_model(run, "sft", tmp_path / "out", Gguf("f32", converter))
    place = run.stage("sft").model
    words = AutoTokenizer.from_pretrained(place)
    ids = torch.tensor([words.encode(TEXT)])
    own = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
    out = AutoModelForCausalLM.from_pretrained(tmp_path / "out", gguf_file="model.gguf", dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.allclose(own(ids).logits, out(ids).logits, atol=1e-5)


def test_llama_cpp_goes_on_and_stops_as_the_run_does(run: RunDirectory, converter: list[str], tmp_path: Path) -> None:
    llama: Any = pytest.importorskip("xllamacpp")
    export_model(run, "sft", tmp_path / "out", Gguf("f32", converter))
    place = run.stage("sft").model
    words, model = AutoTokenizer.from_pretrained(place), AutoModelForCausalLM.from_pretrained(place).eval()
    ids = torch.tensor([words.encode(TEXT)])
    with torch.no_grad():
        expected = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :].tolist()
        likely = model(ids).logits[0, -1].log_softmax(-1).topk(3)
    asked = llama.CommonParams()
    asked.model.path, asked.n_ctx, asked.cpuparams.n_threads, asked.warmup = (
        str(tmp_path / "out" / "model.gguf"),
        128,
        1,
        False,
    )
    answer = llama.Server(asked).handle_completions({"prompt": TEXT, "n_predict": 12, "temperature": 0, "logprobs": 3})
    (choice,) = answer["choices"]
    assert answer["usage"]["prompt_tokens"] == ids.shape[1]
    assert [one["id"] for one in choice["logprobs"]["content"]] == expected
    first = {one["id"]: one["logprob"] for one in choice["logprobs"]["content"][0]["top_logprobs"]}
    assert first == pytest.approx(dict(zip(likely.indices.tolist(), likely.values.tolist(), strict=True)), abs=1e-3)
    stopped = expected[-1] == words.eos_token_id
    assert choice["finish_reason"] == ("stop" if stopped else "length")
