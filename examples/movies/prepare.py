"""Bring a real language model and real human ratings into a cache, as files that truing reads.

    python examples/movies/prepare.py [--cache DIRECTORY] [--seed 17]

Writes ``base/`` (SmolLM2-135M-Instruct as a Hugging Face directory), four ``.jsonl`` files, ``baselines.json``,
``prepared.json`` (counts and lengths), ``judges.py`` and the recipe ``movies.yaml`` with absolute paths. Nothing is
written anywhere else. Running it again keeps the base model and writes the rest anew, the same for the same seed.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

from material import MODEL, RATINGS, fetch, read_ratings
from rows import Row, Sizes, make_rows, write_jsonl
from snippets import fits, parse_snippets

from truing.core.errors import InputError

HERE = Path(__file__).resolve().parent


def prepare(cache: Path, seed: int) -> Path:
    """Fill ``cache`` and return the path of the recipe in it."""
    cache.mkdir(parents=True, exist_ok=True)
    wheel, sdist = (fetch(package, cache / "downloads") for package in (MODEL, RATINGS))
    say("packages", f"{wheel.name} and {sdist.name} have the expected hashes")
    base = cache / "base"
    if not base.is_dir():
        from base_model import convert  # loads torch and transformers

        say("base model", f"converted; it writes {convert(wheel, base)!r}")
    snippets = parse_snippets(*read_ratings(sdist))
    rows = make_rows([snippet for snippet in snippets if fits(snippet)], Sizes(), seed)
    for name, made in rows.items():
        write_jsonl(cache / f"{name}.jsonl", made)
    figures = {"seed": seed, "snippets": len(snippets), "rows": {name: len(made) for name, made in rows.items()}}
    figures["tokens"] = token_lengths(base, rows)
    write_json(cache / "prepared.json", figures)
    say("rows", json.dumps(figures))
    write_baselines(cache / "baselines.json", rows)
    shutil.copyfile(HERE / "judges.py", cache / "judges.py")
    return write_recipe(cache)


def token_lengths(base: Path, rows: dict[str, list[Row]]) -> dict[str, list[int]]:
    """Minimum, median, 95th percentile and maximum of the tokens of each kind of text, the closing eos not counted."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)

    def spread(texts: Sequence[str]) -> list[int]:
        counts = sorted(len(tokenizer(text)["input_ids"]) for text in texts)
        return [counts[0], round(quantiles(counts, n=2)[0]), round(quantiles(counts, n=20)[-1]), counts[-1]]

    demonstrations, pairs = rows["demonstrations"], rows["preferences"] + rows["heldout_preferences"]
    return {
        "opening": spread([str(row["prompt"]) for row in rows["prompts"]]),
        "completion": spread([str(row["completion"]) for row in demonstrations]),
        "demonstration": spread([f"{row['prompt']}{row['completion']}" for row in demonstrations]),
        "side_of_a_pair": spread([f"{row['prompt']}{row[side]}" for row in pairs for side in ("chosen", "rejected")]),
    }


def write_baselines(path: Path, rows: dict[str, list[Row]]) -> None:
    """Measure what simple rules reach on the held-out pairs."""
    from baselines import baselines

    measured = baselines(rows["preferences"], rows["heldout_preferences"])
    write_json(path, measured)
    for name, figures in measured.items():
        say(f"baseline {name}", json.dumps(figures))


def write_recipe(cache: Path) -> Path:
    """The recipe beside this script, with the cache's absolute path in place of CACHE."""
    escaped = json.dumps(str(cache), ensure_ascii=False)[1:-1]  # the template has its paths in double quotes
    recipe = cache / "movies.yaml"
    recipe.write_text((HERE / "movies.yaml").read_text(encoding="utf-8").replace("CACHE", escaped), encoding="utf-8")
    return recipe


def write_json(path: Path, figures: object) -> None:
    """Indented, for people too."""
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def say(topic: str, text: str) -> None:
    """One line of progress."""
    print(f"{topic}: {text}", flush=True)


def main() -> int:
    """Parse, prepare, and say what to run next."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=home / "truing" / "movies", help="where to put it (%(default)s)")
    parser.add_argument("--seed", type=int, default=17, help="decides which snippet serves where (%(default)s)")
    options = parser.parse_args()
    try:
        recipe = prepare(options.cache.resolve(), options.seed)
    except InputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    say("next", f'truing run "{recipe}" --out runs/movies')
    return 0


if __name__ == "__main__":
    sys.exit(main())
