"""The shapes of tokenizers that people bring, trained on a few sentences, and the chat templates of the field.

Templates are written after those of the model families, in as many words as matter: what opens and closes a turn.
"""

import json

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
TURNS = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>"]
TURNS += ["<end_of_turn>", "<|user|>", "<|assistant|>", "<|end|>", "[INST]", "[/INST]"]
SENTENCES = [
    "The ferry to the island leaves at nine and comes back at noon.",
    "Question: how many oars has the boat? Answer: four oars, and one spare.",
    "user assistant system model\n\nFirst we count the sheep, then we go home.",
] * 4

TEMPLATES = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "llama3": "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "gemma": "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "phi3": "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
    "zephyr": "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "mistral": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
}
CLOSINGS = {
    "chatml": ["<|im_end|>", "\n"],
    "llama3": ["<|eot_id|>"],
    "gemma": ["<end_of_turn>", "\n"],
    "phi3": ["<|end|>", "\n", "</s>"],
    "zephyr": ["</s>", "\n"],
    "mistral": ["</s>"],
}
"""What each writes behind an answer"""


def _finished(made: Tokenizer, trainer: trainers.BpeTrainer, template: str | None) -> PreTrainedTokenizerFast:
    made.train_from_iterator(SENTENCES, trainer)
    parts = json.loads(made.to_str())  # the trainer takes bytes for special tokens, since it never counts them
    parts["added_tokens"] = [token for token in parts["added_tokens"] if not token["content"].startswith("<0x")]
    made = Tokenizer.from_str(json.dumps(parts))
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    words = PreTrainedTokenizerFast(tokenizer_object=made, **names)
    words.chat_template = TEMPLATES[template] if template else None
    return words


def byte_bpe(template: str | None = None) -> PreTrainedTokenizerFast:
    """As GPT-2, Llama 3 and Qwen: bytes, no space in front of a text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [*SPECIAL, *TURNS]
    trainer = trainers.BpeTrainer(
        vocab_size=360, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    return _finished(made, trainer, template)


def sentencepiece(template: str | None = None) -> PreTrainedTokenizerFast:
    """As Llama 2, TinyLlama and Phi-3 (legacy): a space in front of a text and behind each special token."""
    made = _sentencepiece(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    return _finished(made, _trainer(), template)


def metaspace(template: str | None = None) -> PreTrainedTokenizerFast:
    """As newer Llama tokenizers: a space in front of a text, none behind special tokens."""
    made = _sentencepiece(None)
    made.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first")
    return _finished(made, _trainer(), template)


def _sentencepiece(normalizer: normalizers.Normalizer | None) -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if normalizer is not None:
        made.normalizer = normalizer
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made


def _trainer() -> trainers.BpeTrainer:
    alphabet = sorted({*"".join(SENTENCES), "▁"} - {"\n"})
    special = [*SPECIAL, *TURNS, *(f"<0x{byte:02X}>" for byte in range(256))]
    return trainers.BpeTrainer(vocab_size=520, initial_alphabet=alphabet, special_tokens=special, show_progress=False)


SHAPES = {"byte_bpe": byte_bpe, "sentencepiece": sentencepiece, "metaspace": metaspace}
