"""The documentation points at what is there, and defines every metric that is logged."""

import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import tiny
import yaml
from docs.code_links import PAGES, ROOT, code_links
from docs.metric_tables import TABLES, table

from truing.config import load_recipe, recipe_shelf
from truing.config.dotted import assign, flat
from truing.config.stages import STAGES
from truing.pipeline.execute import run_pipeline
from truing.runs.metrics import read_jsonl
from truing.runs.progress import SilentProgress
from truing.sweep.grid import read_grid
from truing.trust.questions import QUESTIONS

SWEEP = re.compile(r"^truing sweep (.*)$", re.MULTILINE)
YAML = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


def test_links_to_code_name_what_stands_on_their_line():
    wrong = [f"{link.page.relative_to(ROOT)}: {link.text}" for link in code_links() if link.line != str(link.wanted)]
    assert not wrong, "python tests/docs/code_links.py brings them up to date"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path):
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("name", TABLES)
def test_a_page_defines_metrics_as_the_code_does(name: str):
    page = (ROOT / "docs" / "algorithms" / f"{name}.md").read_text(encoding="utf-8")
    assert table(TABLES[name]) in page, "python tests/docs/metric_tables.py brings it up to date"


@pytest.mark.parametrize("name", ["code_links", "metric_tables"])
def test_what_brings_pages_up_to_date_runs_as_a_script(name: str):
    """Loaded here without tests/ on the path, and not run."""
    loading = f"import runpy; runpy.run_path({str(ROOT / 'tests' / 'docs' / f'{name}.py')!r})"
    alone = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-P", "-c", loading], check=True, env=alone, cwd=ROOT)


def test_every_metric_that_a_run_logs_is_defined(tmp_path: Path):
    recipe = tiny.recipe(tmp_path, stages=list(STAGES), **{"evaluation.judges": {"letters": "letters:letter_a"}})
    run = run_pipeline(recipe, tmp_path / "run", SilentProgress())
    for kind in recipe.stages:
        defined = {metric.name for metric in STAGES[kind].metrics} | {"step"}
        logged = {key for row in read_jsonl(run.stage(kind).metrics) for key in row}
        undefined = {key for key in logged - defined if not key.startswith("judge_")}
        assert not undefined, f"truing.core.metrics does not define {undefined} of {kind}"


def test_the_page_on_trust_has_every_question_as_it_is_put():
    page = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    told = [
        f"### {question.title} (`{question.name}`)\n\n**Why.** {question.why}\n**What to do.** {question.advice}\n"
        for question in QUESTIONS
    ]
    assert [text for text in told if text not in page] == []
    assert page.count("\n### ") == len(QUESTIONS)


def test_every_sweep_that_a_page_shows_has_a_sound_grid():
    lines = [
        line for page in PAGES for line in re.findall("^truing sweep (.*)$", page.read_text("utf-8"), re.MULTILINE)
    ]
    assert lines
    for line in lines:
        overrides = [value for option, value in pairwise(shlex.split(line, comments=True)) if option == "--set"]
        assert len(read_grid(overrides, lambda given: load_recipe(recipe_shelf()["quickstart"], given))) > 1


def test_every_part_of_a_recipe_that_a_page_shows_is_sound_in_that_of_the_readme(tmp_path: Path):
    parts = [part for page in PAGES for part in YAML.findall(page.read_text(encoding="utf-8"))]
    whole = YAML.findall((ROOT / "README.md").read_text(encoding="utf-8"))[0]
    assert len(parts) > 5
    for part in parts:
        recipe = yaml.safe_load(whole)
        for key, value in flat(yaml.safe_load(part)).items():
            assign(recipe, key, value)
        (tmp_path / "my.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        load_recipe(tmp_path / "my.yaml")
