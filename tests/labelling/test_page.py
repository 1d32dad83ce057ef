"""The page in a real browser, by keyboard alone."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from labelling.collecting import a_vote, ask_all, for_first, pair, pairs, person, served, single, store_of
from labelling.hostile import HOSTILE
from playwright.sync_api import Browser, Page, expect, sync_playwright

from truing.labelling.export_rows import rows_to_learn_from
from truing.labelling.items import Item, Mode
from truing.labelling.people import new_link
from truing.labelling.places import put_items
from truing.labelling.store import Store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
PHONE, DESKTOP = (360, 740), (1280, 900)
GUIDELINES = "# What to look for\n\nPrefer what is *right* to what is long.\n\n1. Read both.\n2. Decide."
RICH = (
    "It is **20**.\n\n```python\nprint(10 * 2)  # a line of code that is too long for a phone\n```",
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n- " + "verylongword" * 20,
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(
    chromium: Browser,
    store: Store,
    url: str,
    name: str,
    size: tuple[int, int] = DESKTOP,
    role: Any = "labeller",
    **more: Any,
) -> Page:
    """The page of a person who has opened their link; whatever it complains of fails the test."""
    context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, **more)
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
    page.goto(f"{url}/?t={new_link(store.database, name, role)}")
    page.wait_for_selector("#work:not([hidden]), #done:not([hidden])")
    return page


def press(page: Page, key: str) -> None:
    """A key, and what it does is done: the page has what the server says."""
    before = page.text_content("#progress") or ""
    page.keyboard.press(key)
    expect(page.locator("#progress")).not_to_have_text(before)


def rich(number: int) -> Item:
    return replace(pair(number), answers=tuple(f"{number}: {text}" for text in RICH))


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_twenty_items_by_keyboard_alone(chromium: Browser, tmp_path: Path, size: tuple[int, int]) -> None:
    store = store_of(tmp_path, [rich(number) for number in range(20)])
    with served(store, GUIDELINES) as url:
        page = opened(chromium, store, url, "Anna", size)
        for number in range(19):
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
            if number == 3:
                page.keyboard.press("c")
                page.keyboard.type("3 and b are letters here")
                page.keyboard.press("Escape")
            if number == 4:
                page.keyboard.press("f")
            if number == 5:
                page.keyboard.press("s")
                with page.expect_response("**/api/vote"):
                    page.keyboard.press("2")
                expect(page.locator("#votes")).to_be_visible()
                continue
            press(page, "b" if number == 6 else str(1 + number % 7))
        press(page, "4")
        assert page.text_content("#progress") == "19 by you, 19 of 20 in all"
        expect(page.locator("#done")).to_be_focused()
    kept = ask_all(store_of(tmp_path, []), "SELECT * FROM standing ORDER BY id")
    assert Counter(row["kind"] for row in kept) == {"vote": 18, "both-bad": 1, "skip": 1}
    assert [row["comment"] for row in kept if row["comment"]] == ["3 and b are letters here"]
    assert [row["reason"] for row in kept if row["reason"]] == ["I do not know the subject"]
    assert [number for number, row in enumerate(kept) if row["flagged"]] == [4]
    keys = [1 + number % 7 for number in range(19) if number not in (5, 6)] + [4]
    said = [8 - row["value"] if row["flipped"] else row["value"] for row in kept if row["kind"] == "vote"]
    assert said == keys


@pytest.mark.parametrize(("mode", "keys", "said"), [("rate", "173", [1, 7, 3]), ("yes-no", "yny", [1, 0, 1])])
def test_answers_alone_are_rated_by_keyboard(
    chromium: Browser, tmp_path: Path, mode: Mode, keys: str, said: list[int]
) -> None:
    store = store_of(tmp_path, [single(number) for number in range(3)], mode=mode)
    with served(store) as url:
        page = opened(chromium, store, url, "Anna", PHONE)
        assert page.locator(".answer").count() == 1
        for key in keys:
            press(page, key)
        assert [row["value"] for row in ask_all(store, "SELECT value FROM standing ORDER BY id")] == said


def test_undo_across_a_reload(chromium: Browser, tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(5))
    with served(store) as url:
        page = opened(chromium, store, url, "Anna")
        first = page.text_content("#prompt")
        page.keyboard.press("c")
        page.keyboard.type("It is kind.")
        page.keyboard.press("Escape")
        page.keyboard.press("f")
        press(page, "1")
        expect(page.locator("#comment")).to_have_value("")
        press(page, "2")
        page.reload()
        page.wait_for_selector("#work:not([hidden])")
        press(page, "u")
        press(page, "u")
        assert page.text_content("#prompt") == first
        expect(page.locator("#comment")).to_have_value("It is kind.")
        expect(page.locator("[data-action=flag]")).to_have_attribute("aria-pressed", "true")
        press(page, "7")
        assert len(ask_all(store, "SELECT 1 FROM standing")) == 1
        page.context.clear_cookies()
        page.goto(f"{url}/")
        assert "Open the link" in (page.text_content("h1") or "")


def test_two_people_side_by_side_never_have_the_same(chromium: Browser, tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(8))
    with served(store) as url:
        pages = [opened(chromium, store, url, name) for name in ("Anna", "Ben")]
        seen = []
        for _ in range(4):
            shown = [page.text_content("#prompt") for page in pages]
            assert shown[0] != shown[1]
            seen += shown
            for page in pages:
                press(page, "3")
        assert len(set(seen)) == 8
        for page in pages:
            expect(page.locator("#done")).to_be_visible()


def test_the_same_person_on_two_pages_judges_an_item_once(chromium: Browser, tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(3))
    with served(store) as url:
        pages = [opened(chromium, store, url, "Anna") for _ in range(2)]
        assert pages[0].text_content("#prompt") == pages[1].text_content("#prompt")
        press(pages[0], "1")
        press(pages[1], "7")
        expect(pages[1].locator("#trouble")).to_contain_text("already")
        assert pages[0].text_content("#prompt") == pages[1].text_content("#prompt")
        assert len(ask_all(store, "SELECT 1 FROM votes")) == 1


def test_a_vote_outlives_a_server_that_is_away_and_a_page_that_is_closed(chromium: Browser, tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(3))
    with served(store) as url:
        page = opened(chromium, store, url, "Anna")
    page.keyboard.press("2")
    expect(page.locator("#trouble")).to_contain_text("kept in this browser")
    context = page.context
    page.close()
    store = store_of(tmp_path, pairs(3))
    with served(store, port=urlsplit(url).port or 0):
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#progress")).to_contain_text("1 by you")
        expect(page.locator("#trouble")).to_be_empty()
        assert len(ask_all(store, "SELECT 1 FROM votes")) == 1


@pytest.mark.parametrize("page", ["work", "lead"])
def test_a_page_left_open_on_other_labels_changes_nothing(chromium: Browser, tmp_path: Path, page: str) -> None:
    """The same person judges one file and then another, at the same port; a tab of the first is still there."""
    stores = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        stores.append(store_of(tmp_path / name, pairs(2), each=2))
        dora = person(stores[-1], "Dora")
        given = stores[-1].next(dora)
        assert given is not None
        stores[-1].vote(dora, a_vote(given.assignment, 1, flagged=True))
    with served(stores[0]) as url:
        old = opened(chromium, stores[0], url, "Anna", role="lead")
        if page == "lead":
            old.goto(f"{url}/lead", timeout=60_000)  # torch is imported
    with served(stores[1], port=urlsplit(url).port or 0):
        new = old.context.new_page()
        new.goto(f"{url}/?t={new_link(stores[1].database, 'Anna', 'lead')}")
        new.wait_for_selector("#work:not([hidden])")
        if page == "lead":
            old.click("[data-item][data-value='7']")
        else:
            old.keyboard.press("1")
        expect(old.locator("#trouble")).to_contain_text("reload")
        assert len(ask_all(stores[1], "SELECT 1 FROM votes")) == 1


def test_hostile_texts_run_nothing_and_fetch_nothing(chromium: Browser, tmp_path: Path) -> None:
    items = [replace(pair(number), prompt=text, answers=(text, f"{text} again")) for number, text in enumerate(HOSTILE)]
    store = store_of(tmp_path, items, each=2)
    with served(store, "\n\n".join(HOSTILE)) as url:
        page = opened(chromium, store, url, "Anna <b onclick=x>", PHONE)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: pytest.fail("a script ran"))
        for text in HOSTILE:
            assert page.title() == "Judging answers"
            assert (
                page.locator("main script, main svg, main img, main iframe, main a, main form, main style").count() == 0
            )
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
            page.fill("#comment", text)
            page.keyboard.press("Escape")
            page.keyboard.press("f")
            press(page, "1")
        lead = opened(chromium, store, url, "Chris", role="lead")
        lead.goto(f"{url}/lead")
        assert lead.locator(".card script, .card svg, .card img, .card iframe, .card form").count() == 0
        assert lead.title() == "Judging answers: the lead's page"
        assert lead.locator(".settle").count() == len(HOSTILE)
        assert {urlsplit(one).netloc for one in asked} == {urlsplit(url).netloc}
        assert page.url == f"{url}/"


def test_the_lead_settles_what_is_in_dispute(chromium: Browser, tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(1), each=2)
    with served(store) as url:
        for name, side in (("Anna", "first"), ("Ben", "second")):
            page = opened(chromium, store, url, name)
            is_left = (page.locator(".answer").first.text_content() or "").startswith(side)
            press(page, "1" if is_left else "7")
        lead = opened(chromium, store, url, "Chris", role="lead")
        lead.click("text=the lead's page")
        lead.wait_for_load_state()
        expect(lead.locator(".settle")).to_contain_text("Settle it:")
        lead.get_by_role("button", name="6", exact=True).press("Enter")
        expect(lead.locator(".settle")).to_contain_text("Settled:")
        lead.reload()
        expect(lead.get_by_role("button", name="6", exact=True)).to_have_attribute("aria-pressed", "true")
    assert [row["value"] for row in ask_all(store_of(tmp_path, []), "SELECT value FROM standing WHERE settles")] == [6]


def test_the_lead_withdraws_an_item_and_takes_it_back(chromium: Browser, tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(2), each=2)
    with served(store) as url:
        anna = opened(chromium, store, url, "Anna")
        anna.keyboard.press("f")
        press(anna, "1")
        lead = opened(chromium, store, url, "Chris", role="lead")
        lead.goto(f"{url}/lead")
        button = lead.get_by_role("button", name="Withdraw")
        for is_withdrawn in ("true", "false", "true"):
            with lead.expect_response("**/api/withdraw"):
                button.press("Enter")
            expect(button).to_have_attribute("aria-pressed", is_withdrawn)
            lead.reload()
            expect(button).to_have_attribute("aria-pressed", is_withdrawn)
        assert rows_to_learn_from(store.database, "pairs") == []
        ben = opened(chromium, store, url, "Ben")
        expect(ben.locator("#prompt")).to_have_text("prompt 1")


def test_the_lead_sees_who_stands_out_and_why(chromium: Browser, tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(40), each=3)
    for name, key in (("Anna", None), ("Ben", None), ("Cleo", 1)):  # Cleo presses 1, whatever is on the left
        who = person(store, name)
        while (given := store.next(who)) is not None:
            value = key or for_first(store, given.assignment, 2 if int(given.prompt.split()[1]) % 2 else -2)
            store.vote(who, a_vote(given.assignment, value, seconds=20.0))
    with served(store) as url:
        for size, scheme in ((PHONE, "light"), (DESKTOP, "dark")):
            lead = opened(chromium, store, url, "Chris", size, "lead", color_scheme=scheme)
            lead.goto(f"{url}/lead")
            assert lead.evaluate("document.documentElement.scrollWidth") <= size[0]
            sound(lead)
            lead.click("summary")
            sound(lead)
            told = lead.locator(".stands-out")
            assert told.count() == 1
            expect(told).to_contain_text("Cleo stands out")
            expect(told).to_contain_text("prefer the left side")
            row = lead.locator("tr", has=lead.get_by_role("rowheader", name="Cleo"))
            expect(row).to_contain_text("100%")
            expect(lead.locator(".figures tr").first).to_contain_text(" to ")


@pytest.mark.parametrize(
    ("mode", "size", "scheme"),
    [
        ("pairs", PHONE, "light"),
        ("pairs", DESKTOP, "dark"),
        ("rate", PHONE, "dark"),
        ("yes-no", DESKTOP, "light"),
    ],
)
def test_axe_finds_no_serious_fault(
    chromium: Browser, tmp_path: Path, mode: Mode, size: tuple[int, int], scheme: str
) -> None:
    items = [rich(0), rich(1)] if mode == "pairs" else [single(0), single(1)]
    store = store_of(tmp_path, items, mode=mode)
    with served(store, GUIDELINES) as url:
        page = opened(chromium, store, url, "Chris", size, "lead", color_scheme=scheme)
        sound(page)
        page.keyboard.press("f")
        page.keyboard.press("s")
        sound(page)
        page.keyboard.press("Escape")
        press(page, "1" if mode != "yes-no" else "y")
        page.goto(f"{url}/lead")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        sound(page)
        page.goto(f"{url}/?t=guessed")
        sound(page)


def sound(page: Page) -> None:
    time.sleep(0.15)  # colours that are on their way are no fault
    found = Axe().run(page).response["violations"]
    bad = [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert bad == []


def test_who_has_judged_all_is_told_when_there_is_more_and_given_it_when_they_ask(
    chromium: Browser, tmp_path: Path
) -> None:
    """As a run asks at one look after the other."""
    store = store_of(tmp_path, pairs(2))
    with served(store) as url:
        page = opened(chromium, store, url, "Anna")
        page.clock.install()
        page.reload()
        expect(page.locator("#work")).to_be_visible()
        press(page, "2")
        page.keyboard.press("2")
        expect(page.locator("#done")).to_be_focused()
        put_items(store.database, [], 1)  # the look has ended
        page.clock.run_for(16_000)
        expect(page.locator("#rest")).to_contain_text("nothing more")
        put_items(store.database, pairs(5), 1)
        page.clock.run_for(16_000)
        expect(page.locator("#rest")).to_have_text("There is more to judge now.")
        assert page.title().startswith("●")
        assert len(ask_all(store, "SELECT 1 FROM assignments")) == 2
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#work")).to_be_visible()
        assert page.title() == "Judging answers"
        assert not Axe().run(page).violations_count
