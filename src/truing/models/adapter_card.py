"""README.md of a saved adapter: which base it belongs to, by name and by content, and how to load the two."""

from collections.abc import Mapping
from pathlib import Path

from truing.config.sections import Base
from truing.models.heads import HEAD
from truing.models.stacking import UPPER
from truing.models.weight_files import ADAPTER, read_settings

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
WITHIN_A_RUN = """
That stands in the run and has no name outside it, so no single line loads this adapter from anywhere. To give the
result away, take `model/` beside this folder: it is whole.
"""
STACKED = f"""
The first {{upper}} of its {{rank}} ranks (`{UPPER}`) are what this stage trained; the others are the adapter of the
stage that it began with, on the same base.
"""
ONLY_A_BACKBONE = f"""
It is the backbone of a model with a scalar head, which is in `{HEAD}`. For scores, load `model/` beside this folder
with `AutoModelForSequenceClassification`: it has both.
"""


def write_card(directory: Path, stage: str, base: Base, name: str, files: Mapping[str, str]) -> None:
    """Writes it over the library's empty template. No path is in it: the same adapter has the same card anywhere.

    Args:
        directory: of the adapter.
        stage: that made it.
        base: what it belongs to.
        name: what that is called, in Markdown: a Hub id, or what a stage of the same run made.
        files: SHA-256 of each of its files, where they are known.
    """
    config, upper = (read_settings(directory / file) or {} for file in (ADAPTER, UPPER))
    is_named = config["base_model_name_or_path"] is not None
    rows = [row for of_layer in (config["trainable_token_indices"] or {}).values() for row in of_layer]
    weights = {file: digest for file, digest in sorted(files.items()) if file.endswith(WEIGHTS)}
    table = "".join(f"| `{file}` | `{digest}` |\n" for file, digest in weights.items())
    content = f":\n\n| file of the base | SHA-256 |\n|---|---|\n{table}" if weights else ".\n"
    options = {"trust_remote_code": "True"} if base.trust_remote_code else {}
    options |= {"gguf_file": repr(base.gguf_file)} if base.gguf_file else {}
    told = "".join(f", {option}={value}" for option, value in options.items())
    parts = (
        f"---\nlibrary_name: peft\n---\n\n# Adapter of the stage {stage}\n\n",
        f"A LoRA adapter, trained by truing. It belongs to {name} and to no other base{content}",
        "" if is_named else WITHIN_A_RUN,
        STACKED.format(upper=upper["r"], rank=config["r"]) if upper else "",
        IN_4_BIT if base.quantize != "none" else "",
        ONLY_A_BACKBONE if (directory / HEAD).exists() else "",
        "\n",
        ONE_LINE.format(options=told) if is_named and not base.gguf_file else "",
        TWO_LINES.format(options=told, grown=GROWN.format(tokens=max(rows) + 1) if rows else ""),
    )
    (directory / "README.md").write_text("".join(parts), encoding="utf-8")
