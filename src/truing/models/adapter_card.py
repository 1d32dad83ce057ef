"""README.md of a saved adapter: which base it belongs to, by name and by content, and how to load the two."""

from collections.abc import Mapping
from pathlib import Path

from truing.config.sections import Base
from truing.models.heads import HEAD

WEIGHTS = (".safetensors", ".gguf")

ONE_LINE = """\
```python
from peft import AutoPeftModelForCausalLM

model = AutoPeftModelForCausalLM.from_pretrained("path/to/this/folder"{options})
```

loads it on the base that `adapter_config.json` names. Where that has been moved, name it yourself:

"""
TWO_LINES = """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("path/to/the/base"{options})
{grown}model = PeftModel.from_pretrained(base, "path/to/this/folder")
```
"""
GROWN = "base.resize_token_embeddings({tokens})  # the adapter brings the rows of the tokens that the base lacks\n"
IN_4_BIT = "\nWhile it was trained, the linear layers of its base were held in 4 bit (NF4).\n"
ONLY_A_BACKBONE = f"""
It is the backbone of a model with a scalar head, which is in `{HEAD}`. For scores, load `model/` beside this folder
with `AutoModelForSequenceClassification`: it has both.
"""


def write_card(directory: Path, stage: str, base: Base, name: str, files: Mapping[str, str], tokens: int = 0) -> None:
    """Writes it over the library's empty template. No path is in it: the same adapter has the same card anywhere.

    Args:
        directory: of the adapter.
        stage: that made it.
        base: what the stage began with.
        name: what that is called, in Markdown: a Hub id, or what a stage of the same run made.
        files: SHA-256 of each of its files, where they are known.
        tokens: for which the base has to have embeddings, where the adapter has rows of new tokens; else 0.
    """
    weights = {file: digest for file, digest in sorted(files.items()) if file.endswith(WEIGHTS)}
    table = "".join(f"| `{file}` | `{digest}` |\n" for file, digest in weights.items())
    content = f":\n\n| file of the base | SHA-256 |\n|---|---|\n{table}" if weights else ".\n"
    options = {"trust_remote_code": "True"} if base.trust_remote_code else {}
    options |= {"gguf_file": repr(base.gguf_file)} if base.gguf_file else {}
    told = "".join(f", {option}={value}" for option, value in options.items())
    parts = (
        f"---\nlibrary_name: peft\n---\n\n# Adapter of the stage {stage}\n\n",
        f"A LoRA adapter, trained by truing. It belongs to {name} and to no other base{content}",
        IN_4_BIT if base.quantize != "none" else "",
        ONLY_A_BACKBONE if (directory / HEAD).exists() else "",
        "\n",
        "" if base.gguf_file else ONE_LINE.format(options=told),
        TWO_LINES.format(options=told, grown=GROWN.format(tokens=tokens) if tokens else ""),
    )
    (directory / "README.md").write_text("".join(parts), encoding="utf-8")
