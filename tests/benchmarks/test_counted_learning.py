"""What a GPU is said to be asked for is what is counted, and counts are those of a product by hand."""

import re
from pathlib import Path

import pytest
import torch
from gpu.counted import Counting, policy, token_step
from gpu.counted_learning import ROWS, TOKENS, distribution, layer, position
from gpu.subjects import configs

LOGPROBS = r"come on top: ([\d.]+) µs a position of SmolLM2-135M, .*?; ([\d.]+) and ([\d.]+) of the others"
KL = r"KL to the reference and entropy, .*?, are ([\d.]+), ([\d.]+) and ([\d.]+) µs a position"
PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"


@pytest.mark.parametrize("words", ["transformers and PEFT", "ours"])
def test_the_page_says_what_is_counted(words: str) -> None:
    row = rf"^\| SmolLM2-135M, {words} \| (\d+) \| (\d+) \| \d+ \| \d+% \|$"
    (said,) = re.findall(row, PAGE.read_text("utf-8"), re.MULTILINE)
    found = layer(configs()["SmolLM2-135M"][0], words == "ours")
    assert [*map(int, said)] == [found.kernels, round(found.bytes / ROWS / TOKENS / 1e3)]


@pytest.mark.parametrize("words", ["the library's layers", "ours"])
def test_the_page_says_what_a_token_is_counted_to_take(words: str) -> None:
    row = rf"^\| SmolLM2-135M, {words} \| \d+ \| ([\d,]+) \| (\d+\.\d) \| \d+% \|$"
    ((kernels, gigabytes),) = re.findall(row, PAGE.read_text("utf-8"), re.MULTILINE)
    config, work = configs()["SmolLM2-135M"]
    found = token_step(policy(config), work, words == "ours")
    assert (kernels, gigabytes) == (f"{found.kernels:,}", f"{found.bytes / 1e9:.1f}")


def test_the_page_says_what_log_probabilities_kl_and_entropy_take() -> None:
    page = " ".join(PAGE.read_text("utf-8").split())
    said = [re.search(words, page) for words in (LOGPROBS, KL)]
    for found, of in zip(said, (position, distribution), strict=True):
        assert found is not None
        taken = (1e6 * of(config).seconds for config, _ in configs().values())
        assert [*map(float, found.groups())] == [pytest.approx(one, abs=0.05) for one in taken]


def test_a_kernel_reads_what_it_is_given_and_writes_what_it_returns() -> None:
    """A view costs nothing, what is repeated is there once, and what is added to is read and written."""
    rows, weight, out = (torch.empty(*shape, device="meta") for shape in ((5, 3), (7, 3), (5, 7)))
    with Counting() as counting:
        out.addmm_(rows, weight.t())
    assert (counting.count.kernels, counting.count.bytes) == (1, 4 * (15 + 21 + 2 * 35))
    with Counting() as counting:
        torch.mul(out, out)
        out * torch.empty(1, 7, device="meta").expand(5, 7)
    assert (counting.count.kernels, counting.count.bytes) == (2, 4 * (2 * 35 + 2 * 35 + 7))
