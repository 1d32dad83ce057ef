import string

import pytest
from tiny import tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast


@pytest.fixture
def with_bos() -> PreTrainedTokenizerFast:
    """A tokenizer that opens every text with bos."""
    made = tokenizer(letters=string.printable)
    made.add_special_tokens({"bos_token": "<s>"})
    opening = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", made.bos_token_id)])
    made.backend_tokenizer.post_processor = opening
    return made
