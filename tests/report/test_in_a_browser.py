"""The page in headless Chromium: orders, search and shading do what they say, and hostile text runs no script.

The page's policy would stop a script that slipped through; here it is taken off, so that what is seen is the escaping.
"""

import html
import json
import re
import shutil
import subprocess
from typing import Any

import pytest
from report.example_run import write_json, write_lines, write_run

from truing.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RUNS = "document.documentElement.dataset.ran = 'yes'"
HOSTILE = f'<script>{RUNS}</script><img src=x onerror="{RUNS}"> \'"><svg onload={RUNS}> </span></script>'
PROMPTS = 30
USED = """
const control = (name) => document.querySelector(`.controls [name=${name}]`);
const said = {};
function use(label, values) {
  for (const [name, value] of Object.entries(values)) control(name).value = value;
  control("order").dispatchEvent(new Event("input", { bubbles: true }));
  said[label] = Array.from(document.querySelectorAll(".exchange .prompt"), (prompt) => prompt.textContent);
}
said.spans = Array.from(document.querySelectorAll(".exchange .response[data-series] .said"), (text) =>
  Array.from(text.querySelectorAll("span"), (span) => [span.textContent, span.className, span.title]))[1];
said.texts = Array.from(document.querySelectorAll(".said"), (text) => text.textContent).slice(0, 2);
use("asked", { order: "" });
document.querySelector('.controls button[value="1"]').click();
said.next = Array.from(document.querySelectorAll(".exchange .prompt"), (prompt) => prompt.textContent);
for (const order of ["score", "-score", "kl", "disagreement", "suspicion"]) use(order, { order });
use("found", { order: "", search: "ANSWER 7 " });
use("none", { search: "nowhere" });
document.documentElement.dataset.said = JSON.stringify(said);
"""


def sample(step: int, number: int) -> dict[str, Any]:
    """The score rises with the number; the judge falls most for the third; the fifth is much longer; the KL turns."""
    said = HOSTILE if number == 0 else f"answer {number} x"
    tokens = [said] if number != 1 else ["answer ", "1 ", "x", ""]
    ratios = [0.0] * len(tokens) if number != 1 or not step else [1.0, -0.5, 4.0, 0.1]
    after = step > 0
    return {
        "step": step,
        "prompt": HOSTILE if number == 0 else f"prompt {number}",
        "response": said,
        "finished": True,
        "length": 40 if after and number == 5 else 10,
        "score": (number if after else number % 2) / 10,
        "kl": float((number * 7) % PROMPTS) if after else 0.0,
        "judges": {HOSTILE: -1.0 if after and number in (3, 20) else 0.0},
        "tokens": tokens,
        "token_log_ratios": ratios,
    }


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's own controls showed, and whether any foreign script ran."""
    place = tmp_path_factory.mktemp("browser")
    root = write_run(place / "run", ("ppo",), judge=HOSTILE)
    write_json(root / "recipe.yaml", {"name": HOSTILE, "base": {"path": HOSTILE}})
    write_lines(root / "ppo" / "samples.jsonl", [sample(step, n) for step in (0, 20) for n in range(PROMPTS)])
    page = write_report(root).read_text(encoding="utf-8")
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    used = bare.replace("</body>", f"<script>{USED}</script></body>")
    assert len(used) > len(bare)
    (place / "used.html").write_text(used, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={place / 'profile'}"]
    run = [str(CHROMIUM), *flags, "--virtual-time-budget=2000", "--dump-dom", str(place / "used.html")]
    shown = subprocess.run(run, capture_output=True, text=True, timeout=300, check=True).stdout
    (said,) = re.findall(r'data-said="([^"]*)"', shown)
    return json.loads(html.unescape(said)) | {"ran": "data-ran" in shown.split(">", 2)[1]}


def prompts(*numbers: int) -> list[str]:
    return [f"prompt {number}" if number else HOSTILE for number in numbers]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_what_a_reader_asks_for_is_shown_and_no_foreign_script_runs(seen: dict[str, Any]) -> None:
    assert seen["ran"] is False
    assert seen["texts"] == [HOSTILE, HOSTILE]
    assert seen["asked"] == prompts(*range(20))
    assert seen["next"] == prompts(*range(20, 30))
    assert seen["score"] == prompts(*range(29, 9, -1))
    assert seen["-score"] == prompts(*range(20))
    assert seen["kl"] == sorted(prompts(*range(PROMPTS)), key=lambda one: -(7 * _number(one) % PROMPTS))[:20]
    # both fell by one deviation; the score of 20 rose by 2.0 / 0.05 deviations, that of 3 by 0.2 / 0.05
    assert seen["disagreement"][:2] == prompts(20, 3)
    # two signs where the judge is left behind and the length changed
    assert seen["suspicion"][0] == "prompt 5"
    assert (seen["found"], seen["none"]) == (prompts(7), [])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_words_are_shaded_by_their_own_log_ratio(seen: dict[str, Any]) -> None:
    title = "log-ratio to the reference: {} nats"
    assert seen["spans"] == [
        ["answer ", "more", title.format("1")],
        ["1 ", "less", title.format("-0.5")],
        ["x", "more", title.format("4")],
        ["", "end more", title.format("0.1")],
    ]


def _number(prompt: str) -> int:
    return 0 if prompt == HOSTILE else int(prompt.split()[1])
