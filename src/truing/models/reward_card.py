"""How to use a saved reward model: what text to give it, and how its score is normalised, with the code to do so."""

from transformers import PreTrainedTokenizerBase

from truing.core.normalisation import Normalisation
from truing.core.text import in_one_line, visible
from truing.data.chat import TextFormat
from truing.data.templates import asks_for_the_date, default_prefix
from truing.models.save import NORMALISATION

WHAT = """\
It is a sequence classifier with one label. The higher the score, the more an answer is like those that were preferred.
"""
AVERAGED = """
Its weights are the mean of those of {count} reward models, each trained on its own bootstrap sample of the prompts.
They are in `members/` beside this folder. The figures above are its own; the report card of the stage is of the mean of
their scores.
"""
MEMBER = """
It is one of {count} reward models, each trained on its own bootstrap sample of the prompts.
"""
MESSAGES = """
It reads a conversation as the chat template beside it writes it, whole: from its beginning to the end of what the
template writes behind the assistant's last turn. An answer that was cut off is read without what closes the turn.{date}
Where a message spells out a special token, truing reads that as ordinary text; `apply_chat_template` does not.
"""
PLAIN = """
It reads plain text: a prompt and right behind it its completion, to which nothing is added but the tokens around both.
White space between the two is that of the rows it was trained on. A completion that was cut off is read without the
last of these tokens, `{closing}`.
"""
DATE = " The template asks for the date: it was told {today}, and the library tells it today's."
SCALE = """
Its logit means something only beside another. Responses of the model it was trained from have a mean of {mean:.6g} and
a standard deviation of {std:.6g}; the score is the logit on that scale, so that 0 is such a response on average, and 1
is better by one deviation.

```python
import json

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

place = "path/to/this/folder"
model = AutoModelForSequenceClassification.from_pretrained(place, dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(place)
with open(place + "/{file}") as file:
    scale = json.load(file)


{encode}
    with torch.no_grad():
        return (model(torch.tensor([tokens])).logits.item() - scale["mean"]) / scale["std"]
```
"""
OF_MESSAGES = '''\
def score(messages):
    """Of the last of the messages."""
    tokens = tokenizer.apply_chat_template(messages, return_dict=False)'''
OF_TEXT = '''\
def score(prompt, completion):
    """Of the completion."""
    text = tokenizer.encode(prompt + completion, add_special_tokens=False, split_special_tokens=True)
    tokens = {before} + text + {behind}  # {names}'''


def reward_use(form: TextFormat, chat: bool, normalisation: Normalisation, members: str = "") -> str:
    """What its card says of how to use it.

    Args:
        form: how text became its tokens.
        chat: whether it learnt from messages.
        normalisation: of its score.
        members: what it has to do with others beside it, in sentences.
    """
    tokenizer = form.tokenizer
    before, behind = default_prefix(tokenizer), form.endings.text
    date = DATE.format(today=form.today) if asks_for_the_date(tokenizer) else ""
    form_of_text = MESSAGES.format(date=date) if chat else PLAIN.format(closing=_names(tokenizer, behind))
    around = f"{_names(tokenizer, before)} ... {_names(tokenizer, behind)}".strip()
    encode = OF_MESSAGES if chat else OF_TEXT.format(before=[*before], behind=[*behind], names=around)
    scale = SCALE.format(mean=normalisation.mean, std=normalisation.std, file=NORMALISATION, encode=encode)
    return WHAT + members + form_of_text + scale


def _names(tokenizer: PreTrainedTokenizerBase, tokens: tuple[int, ...]) -> str:
    """On one line and no end of code: a token is foreign text, and readers copy the lines around it."""
    return in_one_line(visible(" ".join(tokenizer.convert_ids_to_tokens(list(tokens))))).replace("`", "⟨U+0060⟩")
