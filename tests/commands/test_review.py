"""`docclf review` as a process: killed, shared by two people, attacked, and used in a browser."""

import csv
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_process import CliProcess, Outcome
from PIL import Image
from review_client import ReviewClient, link_in

from docclf_cli.data.index.tables import read_table
from docclf_cli.errors import InputError
from docclf_cli.tasks.review.queue import ISSUES, ReviewItem, ReviewPage, ReviewQueue
from docclf_cli.tasks.review.review import require_single_pages
from docclf_cli.tasks.review.sources import open_queue

KILLS = int(os.environ.get("DOCCLF_TEST_KILLS", "4"))
HOSTILE = "<img src=x onerror=document.title='bad'>"


def draw(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (30, 40), (number % 256, 80, 80)).save(folder / f"{number:03}.png")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    return draw(tmp_path / "scans", 24)


@pytest.fixture
def serving(start: Callable[..., CliProcess]) -> Iterator[Callable[..., CliProcess]]:
    """Start `docclf review`, and wait for its link."""
    running: list[CliProcess] = []

    def serving_(*args: object, **options: Any) -> CliProcess:
        process = start("review", *args, **options)
        running.append(process)
        process.wait_for("Ctrl-C ends")
        return process

    yield serving_
    for process in running:
        process.kill_group()
        process.process.join(10)


def _label_until_killed(client: ReviewClient, told: list[str], sent: list[str], life: int) -> None:
    for item in client.next(count=4) * 6:
        sent.append(item["key"])
        try:
            if client.decide(item["key"], f"{life}-{item['key']}", "form").status_code == 200:
                told.append(item["key"])
            for new in client.next(count=1):
                sent.append(new["key"])
                if client.decide(new["key"], f"{life}-{new['key']}", "form").status_code == 200:
                    told.append(new["key"])
        except httpx.HTTPError:
            return


def kill_and_count(serving: Callable[..., CliProcess], tmp_path: Path, kills: int, pages: int) -> dict[str, int]:
    """Decide about pages while the server is killed again and again, and count what is lost or there twice."""
    scans = draw(tmp_path / "many", pages)
    told: list[str] = []
    rng = random.Random(0)
    for life in range(kills):
        server = serving(scans, "--class", "form")
        client = ReviewClient(link_in(server.stderr), f"tab-{life}")
        sent: list[str] = []
        labelling = threading.Thread(target=_label_until_killed, args=(client, told, sent, life))
        labelling.start()
        enough = len(told) + rng.randint(1, 6)
        while len(told) < enough and labelling.is_alive():
            time.sleep(0.001)
        server.kill_group()
        labelling.join()
        server.process.join()
    events = [json.loads(line) for line in (tmp_path / "many-review" / "journal.jsonl").read_text().split("\n")[:-1]]
    decided = [event["item"] for event in events if event["kind"] == "decision"]
    return {
        "told": len(set(told)),
        "lost": len(set(told) - set(decided)),
        "doubled": len(decided) - len(set(decided)),
        "decided": len(decided),
    }


def test_nothing_that_was_told_is_lost_when_killed(serving: Callable[..., CliProcess], tmp_path: Path) -> None:
    found = kill_and_count(serving, tmp_path, kills=3, pages=60)
    assert found["told"] > 0
    assert (found["lost"], found["doubled"]) == (0, 0)


@pytest.mark.slow
def test_nothing_is_lost_over_many_kills(serving: Callable[..., CliProcess], tmp_path: Path) -> None:
    found = kill_and_count(serving, tmp_path, kills=5 * KILLS, pages=400)
    print(found)
    assert found["told"] > KILLS
    assert (found["lost"], found["doubled"]) == (0, 0)


def test_two_people_share_a_queue(serving: Callable[..., CliProcess], scans: Path, tmp_path: Path) -> None:
    server = serving(scans, "--class", "form", "--class", "letter")
    first = ReviewClient(link_in(server.stderr), "first")
    server.wait_for("another browser can join")
    second = ReviewClient(server.stderr.partition("join with ")[2].split()[0], "second")
    done: dict[str, list[str]] = {"first": [], "second": []}

    def label(client: ReviewClient, name: str) -> None:
        while items := client.next():
            answer = client.decide(items[0]["key"], f"{client.holder}-{items[0]['key']}", name)
            assert answer.status_code == 200
            done[client.holder].append(items[0]["key"])

    threads = [threading.Thread(target=label, args=one) for one in ((first, "form"), (second, "letter"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done["first"]) + len(done["second"]) == 24
    assert not set(done["first"]) & set(done["second"])
    first.post("/api/finish")
    outcome = server.wait()
    assert outcome.code == 0
    assert len(rows(tmp_path / "scans-review" / "review_labels.csv")) == 24


def test_a_second_process_is_refused(
    serving: Callable[..., CliProcess], docclf: Callable[..., Outcome], scans: Path
) -> None:
    serving(scans)
    outcome = docclf("review", scans)
    assert outcome.code == 2
    assert "is being written by process" in outcome.stderr
    assert "--output" in outcome.stderr


def test_strangers_get_nothing(serving: Callable[..., CliProcess], tmp_path: Path) -> None:
    scans = draw(tmp_path / "scans", 2)
    secret = tmp_path / "secret.png"
    Image.new("RGB", (5, 5)).save(secret)
    (scans / "link.png").symlink_to(secret)
    (scans / "page.png").write_text("<svg onload=alert(1)>")
    server = serving(scans, "--class", "form")
    client = ReviewClient(link_in(server.stderr))
    names = {item["pages"][0]["id"]: item["pages"][0]["name"] for item in client.next(count=4)}
    assert client.http.get(f"/pages/{names['000.png']}.jpg").headers["content-type"] == "image/jpeg"
    damaged = client.http.get(f"/pages/{names['page.png']}.jpg")
    assert (damaged.status_code, damaged.headers["content-type"]) == (422, "application/json")
    assert "link.png" not in names or client.http.get(f"/pages/{names['link.png']}.jpg").status_code == 422
    for path in ("/pages/../secret.png.jpg", "/pages/..%2f..%2fsecret.png.jpg", f"/pages/{'0' * 24}.jpg", "/static/../app.py", "/static/..%2fapp.py"):  # fmt: skip
        assert client.http.get(path).status_code == 404, path
    stranger = httpx.Client(base_url=client.base)
    for path in ("/", "/api/state", f"/pages/{names['000.png']}.jpg", "/static/review.js"):
        assert stranger.get(path).status_code == 403
    body = {"holder": "x", "count": 1}
    assert client.http.post("/api/next", json=body, headers={"origin": client.base}).status_code == 403
    assert client.http.post("/api/next", json=body, headers=client.headers | {"origin": "http://evil.example"}).status_code == 403  # fmt: skip
    assert client.http.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.post("/api/decide", holder="x", id="1", item="nothing", answer="label", label="form").status_code == 409  # fmt: skip


def test_the_labels_of_pdf_pages_name_files_that_can_be_trained_on(
    serving: Callable[..., CliProcess], tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    pages = [Image.new("RGB", (30, 40), colour) for colour in ("red", "blue")]
    pages[0].save(scans / "two.tif", save_all=True, append_images=pages[1:])
    server = serving(scans, "--class", "form")
    client = ReviewClient(link_in(server.stderr))
    for item in client.next(count=2):
        client.decide(item["key"], item["key"], "form")
    client.post("/api/finish")
    server.wait()
    labels = rows(tmp_path / "scans-review" / "review_labels.csv")
    assert [row["ID"] for row in labels] == ["two.tif#1", "two.tif#2"]
    assert {row["group"] for row in labels} == {"two.tif"}
    with Image.open(labels[1]["path"]) as saved:
        assert saved.convert("RGB").getpixel((5, 5)) == (0, 0, 255)


def test_a_table_of_predict_offers_what_needs_review(tmp_path: Path) -> None:
    scans = draw(tmp_path / "scans", 3)
    text = "path,page,class,confidence,class_2,confidence_2,needs_review,status\n"
    for number, (confidence, needs) in enumerate([(0.9, "false"), (0.5, "true"), (0.6, "true")]):
        text += f"{scans}/{number:03}.png,1,form,{confidence},letter,{1 - confidence:.1f},{needs},\n"
    (tmp_path / "predictions.csv").write_text(text)
    queue = open_queue(tmp_path / "predictions.csv")
    assert [item.confidence for item in queue.items] == [0.5, 0.6]
    assert [item.runner_up_confidence for item in queue.items] == [0.5, 0.4]
    assert queue.class_names == ("form", "letter")
    assert len(open_queue(tmp_path / "predictions.csv", every_page=True).items) == 3
    (tmp_path / "summary.json").write_text("{}")  # as `predict` writes it; an audit has a file of this name as well
    assert [item.confidence for item in open_queue(tmp_path).items] == [0.5, 0.6]


def test_a_long_queue_is_leased_without_reading_pages(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(2000):
        (folder / f"{number:05}.png").touch()
    queue = open_queue(folder)
    assert len(queue.items) == 2000
    assert queue.items[0].pages[0].id == "00000.png"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["nothing"], "there is no such file or folder"),
        (["empty"], "no page in this folder"),
        (["a.txt"], "is nothing that can be reviewed"),
    ],
)
def test_what_cannot_be_reviewed_is_refused(
    docclf: Callable[..., Outcome], tmp_path: Path, args: list[str], text: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").touch()
    outcome = docclf("review", *args)
    assert outcome.code == 2
    assert text in outcome.stderr


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true; playwright's own way needs `eval`, which the page's policy forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(30)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme", "language"), [(1280, "light", "en"), (390, "dark", "ko")])
def test_in_a_browser(
    browser: Any, serving: Callable[..., CliProcess], tmp_path: Path, width: int, scheme: str, language: str
) -> None:
    scans = draw(tmp_path / "scans", 6)
    (scans / "000.png").rename(scans / f"{HOSTILE.replace('/', '')}.png")
    server = serving(scans, "--class", "form", "--class", HOSTILE)
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, locale="ko-KR" if language == "ko" else "en-US"
    )
    page, trouble = context.new_page(), []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    base = link_in(server.stderr).partition("/enter")[0]
    page.on("request", lambda request: None if request.url.startswith(base) else trouble.append(request.url))
    page.goto(link_in(server.stderr))
    page.wait_for_url(f"{base}/")  # the door goes on by itself
    page.wait_for_selector("img.page")
    until(page, "document.querySelector('img.page').naturalWidth > 0")
    assert page.url == f"{base}/"
    assert page.evaluate("document.documentElement.scrollWidth") == width
    finish = {"en": "Finish", "ko": "끝내기"}[language]

    def wait_for(done: int) -> None:
        until(page, f"document.getElementById('bar').value === {done}")

    page.keyboard.press("1")
    wait_for(1)
    page.get_by_role("button", name=HOSTILE).click()
    wait_for(2)
    page.keyboard.press("Backspace")
    wait_for(1)
    page.keyboard.press("u")
    wait_for(2)
    page.fill("#search", "영수증")
    page.keyboard.press("Enter")  # no such class yet: it is made
    wait_for(3)
    page.keyboard.press("z")
    page.wait_for_selector("#stage.zoomed")
    page.reload()
    page.wait_for_selector("img.page")
    wait_for(3)
    for done in (4, 5, 6):
        page.keyboard.press("3")
        wait_for(done)
    page.wait_for_selector("#end h1")
    page.get_by_role("button", name=finish).last.click()
    page.wait_for_selector("#files li")
    assert page.title() == "scans – docclf review"
    assert trouble == []
    context.close()
    assert server.wait().code == 0
    table = read_table(tmp_path / "scans-review" / "review_labels.csv")
    assert sorted(table["target"].tolist()) == ["form", "영수증", "영수증", "영수증", "영수증"]


@pytest.mark.slow
def test_suggestions_follow_the_labels(serving: Callable[..., CliProcess], tmp_path: Path) -> None:
    """Without any model: the first labels by hand, suggestions from then on, killed and taken up again."""
    profile = (
        "data: {image_size: 64}\nmodel: {model_name: test_resnet, pretrained: false}\nruntime: {precision: fp32}\n"
    )
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "instant.yaml").write_text(profile)
    scans, rng = tmp_path / "scans", random.Random(0)
    scans.mkdir()
    tones = {"dark": 30, "light": 220}
    for number in range(40):
        tone = list(tones.values())[number % 2] + rng.randint(-20, 20)
        Image.new("RGB", (30, 40), (tone, tone, tone)).save(scans / f"{number:03}-{list(tones)[number % 2]}.png")
    args = (scans, "--learn", "--every", "8", "--class", "dark", "--class", "light")

    def label(client: ReviewClient, count: int) -> list[str]:
        shown = []
        for _ in range(count):
            item = client.next(order="uncertain")[0]
            name = item["pages"][0]["id"]
            shown.append(name)
            answer = client.decide(item["key"], name, name.partition("-")[2].partition(".")[0])
            assert answer.status_code == 200
        return shown

    def until_round(client: ReviewClient, number: int) -> None:
        end = time.monotonic() + 120
        while client.learning()["round"] < number:
            assert time.monotonic() < end, client.learning()
            time.sleep(0.05)

    server = serving(*args)
    client = ReviewClient(link_in(server.stderr))
    shown = label(client, 8)
    until_round(client, 1)
    client.next(count=4, order="uncertain")
    server.kill_group()
    server.process.join()
    server = serving(*args)
    client = ReviewClient(link_in(server.stderr))
    until_round(client, 2)  # what was decided before is learned from at once
    items = client.next(count=4, order="uncertain")
    assert all(item["suggested"] in item["pages"][0]["id"] for item in items)
    shown += label(client, 32)
    assert len(set(shown)) == 40
    client.post("/api/finish")
    assert server.wait().code == 0
    events = [json.loads(line) for line in (tmp_path / "scans-review" / "journal.jsonl").read_text().splitlines()]
    models = {event["model"] for event in events if event["kind"] == "round"}
    suggested_by = {event["suggested_by"] for event in events if event["kind"] == "decision"}
    assert suggested_by <= models | {None}
    assert len(suggested_by) > 1
    labels = rows(tmp_path / "scans-review" / "review_labels.csv")
    assert all(row["target"] in row["ID"] for row in labels)
    assert len(labels) == 40


def test_an_audit_cannot_be_learned_from(tmp_path: Path) -> None:
    page = ReviewPage("a", tmp_path / "a.png")
    queue = ReviewQueue(tmp_path, (ReviewItem("a", ISSUES, (page,)),), ("form",))
    with pytest.raises(InputError, match="is an audit"):
        require_single_pages(queue)


@pytest.mark.slow
def test_a_whole_round(
    docclf: Callable[..., Outcome],
    serving: Callable[..., CliProcess],
    pages: Path,
    tiny: tuple[str, ...],
    tmp_path: Path,
) -> None:
    """Train, review pages with suggestions, look at a heat map, and learn from the labels."""
    assert docclf("train", pages, *tiny, "--epochs", "1", "--name", "first").code == 0
    server = serving(pages / "test", "--run", "runs/first", "--class", "new kind", "--output", "reviewed")
    client = ReviewClient(link_in(server.stderr))
    assert client.state["heat"]
    items = client.next(count=4, order="uncertain")
    heat = client.http.get(f"/heat/{items[0]['pages'][0]['name']}.png", params={"label": items[0]["suggested"]})
    assert (heat.status_code, heat.headers["content-type"]) == (200, "image/png")
    labels = 0
    while items := client.next():
        label = "new kind" if labels % 5 == 0 else items[0]["suggested"]
        assert client.decide(items[0]["key"], items[0]["key"], label).status_code == 200
        labels += 1
    client.post("/api/finish")
    assert server.wait().code == 0
    shown = docclf("review", pages / "test", "--run", "runs/first", "--output", "reviewed", "--export", "--json").json
    assert (shown["labelled"], shown["left"]) == (labels, 0)
    command = shown["next_commands"][0].split()
    assert command[:5] == ["docclf", "train", "--from", "runs/first", "--add"]
    outcome = docclf(*command[1:], "--name", "second", "--json")
    assert outcome.code == 0, outcome.stderr
    learned = outcome.json["learned"]
    assert Path(learned["previous"]).name == "first"
    assert learned["new_classes"] == ["new kind"]
    assert learned["added_pages"] + learned["held_out_pages"] == labels
    assert learned["on_old_pages"]["pages"] > 0
    again = docclf("train", "--from", "runs/second", "--add", command[5], "--name", "third", "--json")
    assert again.code == 0, again.stderr
    assert again.json["learned"]["held_out_pages"] == learned["held_out_pages"]
