"""Changes to a recipe by dotted key: `--set ppo.kl.beta=0.1`."""

from typing import Any

from truing.config.dotted import OverrideError, assign
from truing.config.mistakes import Mistake
from truing.config.moved import OLD_VARIANTS, current_key
from truing.config.yaml_text import read_yaml


def apply_override(document: dict[str, Any], text: str) -> tuple[str, list[Mistake]]:
    """Sets one `a.b=value` in the document, its value read as YAML; an older key is taken for what it is called now.

    Returns:
        The key as it is called now (the whole of the older variants keeps its name), and what was wrong.
    """
    key, equals, value_text = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        return key, [Mistake("", "is not of the form key=value.", "For example: --set ppo.kl.beta=0.1", override=text)]
    key = key if key == OLD_VARIANTS else current_key(key)
    read = read_yaml(value_text)
    if read.mistakes:
        return key, [Mistake(key, f"the value {m.sentence()}", override=text) for m in read.mistakes]
    try:
        assign(document, key, read.value)
    except OverrideError as error:
        return key, [Mistake(key, str(error), override=text)]
    return key, []
