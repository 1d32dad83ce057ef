"""A recipe's file is rewritten for today: it means the same, and keeps what a person wrote beside it."""

from pathlib import Path
from typing import Any

import pytest
from config.test_moved import KEYS, OLD_ASSISTANT, OLD_MOVIES, OLD_QUICKSTART, VALUES, nested
from hypothesis import given, settings
from hypothesis import strategies as st

from truing.config import load_recipe, migrate_recipe
from truing.core.errors import RecipeError

COMMENTED = """\
# What this is for

# my judges
judges: {a: "m:f"}   # one
name: x
world: {}
ppo:
  gamma: 0.9     # shorter
  # how hot
  temperature: 0.5   # of the draws
  rewards:
    # the first
    - kind: function
      path: "r:f"
    - {kind: function, path: "q:f"}
  heldout_every: 3

# for DPO
dpo: {heldout_every: 3, beta: 0.2}
rollout:
  max_new_tokens: 9

compute: {threads: 1}
# the end
"""
OF_TODAY = """\
# What this is for

schema: 2
name: x
world: {}
ppo:
  gamma: 0.9     # shorter

# for DPO
dpo: {beta: 0.2}
rollout:
  max_new_tokens: 9
  # how hot
  temperature: 0.5   # of the draws

compute: {threads: 1}
rewards:
  sources:
    # the first
    - kind: function
      path: "r:f"
    - {kind: function, path: "q:f"}
evaluation:
  every: 3
  # my judges
  judges: {a: "m:f"}   # one
# the end
"""


def migrated(text: str, tmp_path: Path) -> str:
    """The text as it is written now, which says the same, states so, and is left alone from then on."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(text)
    notes: list[str] = []
    done = migrate_recipe(old)
    new.write_text(done.text)
    assert load_recipe(new, (), notes.append) == load_recipe(old)
    assert notes == []
    assert "schema: 2" in done.text
    assert migrate_recipe(new).text == done.text
    return done.text


def test_entries_move_with_their_comments_and_all_else_stays(tmp_path: Path) -> None:
    assert migrated(COMMENTED, tmp_path) == OF_TODAY
    assert migrate_recipe(tmp_path / "old.yaml").lost == []


@pytest.mark.parametrize("text", [OLD_QUICKSTART, OLD_ASSISTANT, OLD_MOVIES], ids=["quickstart", "assistant", "movies"])
def test_recipes_of_0_1_are_rewritten(text: str, tmp_path: Path) -> None:
    migrated(text, tmp_path)


@pytest.mark.parametrize("old", KEYS)
def test_each_key_that_has_moved_is_written_where_it_belongs(old: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"world: {{}}   # kept\n{nested(old, VALUES[old])}\n")
    done = migrate_recipe(path)
    assert done.text.startswith("schema: 2\nworld: {}   # kept\n")
    assert done.lost == []
    migrated(path.read_text(), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        '{"world": {}, "ppo": {"temperature": 0.5, "gamma": 0.9}}',
        "world: {}\nppo: &shared {temperature: 0.5}\nvariants: {a: {ppo: *shared}}",
        "world: {}\nppo: {variants: {a: {kl: {beta: 0.0}, temperature: 2.0}}}",
        "world: {}\nppo: {temperature: 0.5}\nvariants: {b: {ppo.temperature: 0.7}, c: {ppo.gamma: 0.5}}",
        "world: {}\ngrpo: {clip_range: &half 0.5}\nppo:\n  temperature: *half\n",
        "world: {}\nrollout:\nppo:\n  temperature: 0.5\n",
        "world: {}\nrollout: {max_new_tokens: 5, }\nppo: {temperature: 0.5}",
        "world: {}\nppo: {temperature: 0.5,\n  gamma: 0.9}",
        "world: {}\njudges: {a: 'm:f',\n  b: 'm:g'}",
        "world: {}\nppo: {temperature: 0.5\n}",
        "world: {}\n# of PPO\nppo:   # and more\n  temperature: 0.5\n",
        "---\nworld: {}\nppo: {temperature: 0.5}\n",
        "schema: 1   # of last year\nworld: {}",
        "world: {}\nstages: [sft, dpo]\nppo: {heldout_every: 5}\ndpo: {heldout_every: 7}",
    ],
)
def test_other_ways_to_write_a_recipe_mean_the_same_afterwards(text: str, tmp_path: Path) -> None:
    migrated(text, tmp_path)


def test_a_comment_that_has_no_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("world: {}\nvariants:\n  a: {ppo.temperature: 2.0}   # hotter\n")
    assert migrate_recipe(path).lost == ["# hotter"]


def test_a_recipe_of_today_gets_one_line(tmp_path: Path) -> None:
    assert migrated("# mine\nworld: {}\n", tmp_path) == "# mine\nschema: 2\nworld: {}\n"


def test_a_value_by_both_names_is_for_a_person_to_decide(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("world: {}\nppo: {temperature: 0.5}\nrollout: {temperature: 0.7}\n")
    with pytest.raises(RecipeError) as caught:
        migrate_recipe(path)
    assert [problem.code for problem in caught.value.problems] == ["recipe/moved-key"]


ENTRIES = st.permutations([(old, VALUES[old]) for old in KEYS if old != "dpo.heldout_every"])


@settings(max_examples=25, deadline=None)
@given(entries=ENTRIES, count=st.integers(1, 8), comment=st.sampled_from(["", "   # why"]))
def test_any_older_keys_together(
    entries: list[tuple[str, Any]], count: int, comment: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sections: dict[str, list[str]] = {}
    for key, value in entries[:count]:
        section, _, name = key.rpartition(".")
        sections.setdefault(section, []).append(f"{name}: {value}{comment}")
    text = "world: {}\n" + "\n".join(sections.pop("", []))
    text += "".join(f"\n{name}:\n" + "\n".join(f"  {line}" for line in lines) for name, lines in sections.items())
    done = migrated(text, tmp_path_factory.getbasetemp())
    assert done.count("# why") == text.count("# why")
