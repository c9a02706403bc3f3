"""Every job of `docclf review` in a real browser: desktop and phone, light and dark, English and Korean.

`DOCCLF_TEST_SCREENSHOTS=DIR` keeps a picture of each, for people to look at.
"""

import csv
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_process import CliProcess, Outcome
from packet_cases import write_packet
from review_client import link_in

from docclf_cli.data.samples.pages import render_page

pytestmark = pytest.mark.slow
JOBS = ("folder", "predictions", "duplicates", "issues", "cuts")
KINDS = ("invoice", "letter", "receipt", "form")
LOOKS = [
    (width, scheme, language) for width in (1280, 390) for scheme in ("light", "dark") for language in ("en", "ko")
]
PICTURES = os.environ.get("DOCCLF_TEST_SCREENSHOTS")


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> dict[str, Path]:
    """What is reviewed, by job."""
    place = tmp_path_factory.mktemp("jobs")
    for kind in KINDS:
        (place / "pages" / kind).mkdir(parents=True)
        for number in range(2):
            render_page(kind, 0, number).save(place / "pages" / kind / f"{kind}-{number}.jpg")
    scans = sorted((place / "pages").rglob("*.jpg"))
    (place / "scans").mkdir()
    for path in scans:
        shutil.copy(path, place / "scans")
    shutil.copy(scans[0], place / "pages" / "letter" / "copy.jpg")
    audit = CliProcess(("audit", "pages", "--name", "look", "--quiet"), place, {"XDG_CACHE_HOME": str(cache_home)})
    assert audit.wait().code == 0
    issues = Path(shutil.copytree(place / "runs" / "look", place / "runs" / "issues"))
    (issues / "near_duplicates.csv").unlink()
    write_table(
        issues / "label_issues.csv",
        ("id", "given_label", "given_probability", "suggested_label", "suggested_probability", "in_relabel_file"),
        [(f"{path.parent.name}/{path.name}", path.parent.name, 0.1, "form", 0.8, "False") for path in scans[2:5]],
    )
    write_table(
        place / "predictions.csv",
        ("path", "page", "class", "confidence", "class_2", "confidence_2", "needs_review", "status"),
        [(path, 1, path.parent.name, 0.6, "passport", 0.3, "true", "") for path in scans],
    )
    write_packet(place / "packet.pdf", [("contract", 50), ("contract", 51), ("invoice", 52)])
    write_table(
        place / "documents.csv",
        ("packet", "part", "first_page", "last_page", "class", "uncertain", "cut_probabilities"),
        [("packet.pdf", 1, 1, 3, "contract", "2 4", "0.4 0.7"), ("packet.pdf", 2, 4, 6, "invoice", "4 5", "0.7 0.45")],
    )
    return {
        "folder": place / "scans",
        "predictions": place / "predictions.csv",
        "duplicates": place / "runs" / "look",
        "issues": issues,
        "cuts": place / "documents.csv",
    }


@pytest.fixture
def reviewing(
    start: Callable[..., CliProcess], sources: dict[str, Path], tmp_path: Path
) -> Iterator[Callable[[str], CliProcess]]:
    running: list[CliProcess] = []

    def reviewing_(job: str) -> CliProcess:
        classes = [word for kind in KINDS for word in ("--class", kind)] if job == "folder" else []
        running.append(start("review", sources[job], "--output", tmp_path / "review", *classes))
        running[-1].wait_for("Ctrl-C ends")
        return running[-1]

    yield reviewing_
    for process in running:
        process.kill_group()
        process.process.join(10)


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true; playwright's own way needs `eval`, which the page's policy forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(20)


ALL_LOADED = "[...document.querySelectorAll('img.page')].every((one) => one.naturalWidth > 0 && one.width > 0)"
# Letters of the alphabet in texts of the page itself, without names of files and classes.
LATIN = """[...document.querySelectorAll('[data-text], #pace, #counts, #order option, #search')]
  .filter((one) => !one.hidden).map((one) => one.placeholder || one.textContent).filter((text) => /[A-Za-z]{3}/.test(text))"""


@pytest.mark.parametrize("job", JOBS)
def test_each_look_of_a_job(browser: Any, reviewing: Callable[[str], CliProcess], job: str) -> None:
    server = reviewing(job)
    link = link_in(server.stderr)
    base, state = link.partition("/enter")[0], None
    for width, scheme, language in LOOKS:
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, storage_state=state,
            locale="ko-KR" if language == "ko" else "en-US",
        )  # fmt: skip
        page, trouble = context.new_page(), list[str]()
        page.on("console", lambda message, trouble=trouble: trouble.append(message.text))
        page.on("pageerror", lambda error, trouble=trouble: trouble.append(str(error)))
        page.goto(f"{base}/" if state else link)
        page.wait_for_url(f"{base}/")
        page.wait_for_selector("img.page")
        until(page, ALL_LOADED)
        state = state or {"cookies": context.cookies(), "origins": []}  # no language is stored
        assert page.evaluate("document.documentElement.lang") == language
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(LATIN) == [] or language == "en"
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 26)"
        assert dark == (scheme == "dark")
        wanted = {"cuts": "#cut", "folder": "#classes button", "duplicates": "#different", "issues": "#keep"}.get(
            job, "#accept"
        )
        box = page.locator(wanted).first.bounding_box()
        assert box and 0 <= box["y"] <= 844 - 20, f"{wanted} is out of sight"
        if PICTURES:
            page.screenshot(path=Path(PICTURES) / f"{job}-{width}-{scheme}-{language}.png")
        page.keyboard.press("z")
        page.wait_for_selector("#stage.zoomed")
        if PICTURES and job == "cuts":
            page.screenshot(path=Path(PICTURES) / f"{job}-{width}-{scheme}-{language}-zoomed.png")
        page.keyboard.press("Escape")
        assert trouble == []
        page.close()  # gives its items back to the next one
        context.close()


def test_cuts_are_decided_by_key_and_by_click(
    browser: Any, reviewing: Callable[[str], CliProcess], docclf: Callable[..., Outcome], tmp_path: Path
) -> None:
    server = reviewing("cuts")
    page = browser.new_context(viewport={"width": 1280, "height": 844}, locale="en-US").new_page()
    page.goto(link_in(server.stderr))
    page.wait_for_selector("img.page")

    def wait_for(done: int) -> None:
        until(page, f"document.getElementById('bar').value === {done}")

    assert "does a document begin on page 2?" in page.locator("#name").inner_text()
    assert page.locator("figcaption").all_inner_texts() == ["Page 1 — contract", "Page 2 — contract"]
    assert not page.locator("#search").is_visible()
    page.keyboard.press("2")
    wait_for(1)
    page.keyboard.press("Backspace")
    wait_for(0)
    page.keyboard.press("u")  # no answer to this question
    page.keyboard.press("Enter")
    wait_for(1)
    page.get_by_role("button", name="1 Cut here").click()
    wait_for(2)
    page.keyboard.press("1")
    wait_for(3)
    page.wait_for_selector("#end h1")
    page.get_by_role("button", name="Finish").last.click()
    page.wait_for_selector("#files li")
    assert server.wait().code == 0
    with (tmp_path / "review" / "review_cuts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["page"], row["decision"], row["suggested"]) for row in rows] == [
        ("2", "join", "join"), ("4", "cut", "cut"), ("5", "cut", "join"),
    ]  # fmt: skip
