"""Uncertain cuts of packets: the queue, decisions on disk, and `split-packets --cuts` that takes them as given."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_process import CliProcess, Outcome
from packet_cases import CLASSES, with_boundaries, write_packet
from page_cases import write_checkpoint
from review_client import ReviewClient, link_in

from docclf_cli.errors import InputError
from docclf_cli.files import sha256_of
from docclf_cli.tasks.review.queue import CUTS, UNCERTAIN, ordered
from docclf_cli.tasks.review.sources import open_queue

pytest.importorskip("pypdfium2", reason="extra pdf")
PACKET = [("contract", 50), ("contract", 51), ("invoice", 52)]  # pages 1 to 3, 4, and 5 to 6
SPLIT = ("--text", "layer", "--json")


@pytest.fixture(scope="module")
def unsure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that is sure of every join and of no cut."""
    plain = write_checkpoint(tmp_path_factory.mktemp("model") / "plain.ckpt", CLASSES)
    return with_boundaries(plain, plain.with_name("unsure.ckpt"), sure=False)


@pytest.fixture
def serving(start: Callable[..., CliProcess]) -> Iterator[Callable[..., ReviewClient]]:
    """Start `docclf review`, and open its link."""
    running: list[CliProcess] = []

    def serving_(*args: object) -> ReviewClient:
        process = start("review", *args)
        running.append(process)
        process.wait_for("Ctrl-C ends")
        client = ReviewClient(link_in(process.stderr))
        client.end = lambda: (client.post("/api/finish"), process.wait())  # type: ignore[attr-defined]
        return client

    yield serving_
    for process in running:
        process.kill_group()
        process.process.join(10)


def decide(client: ReviewClient, item: dict[str, Any], answer: str, name: str = "") -> int:
    body = {"holder": client.holder, "id": name or item["key"], "item": item["key"], "answer": answer, "who": "Kim"}
    return client.post("/api/decide", **body).status_code


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_uncertain_cuts_are_decided_and_then_made(
    docclf: Callable[..., Outcome], serving: Callable[..., ReviewClient], unsure: Path, tmp_path: Path
) -> None:
    write_packet(tmp_path / "packet.pdf", PACKET)
    first = docclf("split-packets", unsure, "packet.pdf", "--output", "documents.csv", *SPLIT)
    assert first.code == 0, first.stderr
    assert [part["uncertain"] for part in first.json["parts"]] == [[4], [4, 5], [5]]
    assert all(share > 0.9 for part in first.json["parts"] for share in part["cut_probabilities"])
    client = serving("documents.csv")
    assert client.state["orders"] == ["file", "uncertain"]
    items = client.next(count=4)
    assert [(item["kind"], item["suggested"]) for item in items] == [(CUTS, "cut"), (CUTS, "cut")]
    assert [[page["number"] for page in item["pages"]] for item in items] == [[3, 4], [4, 5]]
    assert {page["label"] for item in items for page in item["pages"]} <= {*CLASSES}
    assert decide(client, items[0], "label") == 409
    assert decide(client, items[0], "unknown") == 409
    assert decide(client, items[0], "skip") == 200
    assert decide(client, items[1], "cut") == 200
    (again,) = client.next(count=4)
    assert decide(client, again, "cut", "second thoughts") == 200
    assert client.post("/api/undo", holder=client.holder, id="second thoughts").status_code == 200
    assert decide(client, again, "join", "third") == 200
    client.end()  # type: ignore[attr-defined]
    table = tmp_path / "documents-review" / "review_cuts.csv"
    decided = rows(table)
    assert [(row["packet"], row["page"], row["decision"], row["suggested"], row["who"]) for row in decided] == [
        ("packet.pdf", "4", "join", "cut", "Kim"),
        ("packet.pdf", "5", "cut", "cut", "Kim"),
    ]
    assert {row["sha256"] for row in decided} == {sha256_of(tmp_path / "packet.pdf")}
    events = [json.loads(line) for line in (table.parent / "journal.jsonl").read_text().splitlines()]
    assert [event["kind"] for event in events if event["kind"] != "model"] == ["decision"] * 3 + ["undo", "decision"]

    shutil.move(tmp_path / "packet.pdf", tmp_path / "renamed.pdf")  # a packet is known by its content
    done = docclf("split-packets", unsure, "renamed.pdf", "--cuts", table, "--write", "parts", *SPLIT)
    assert done.code == 0, done.stderr
    found = done.json
    assert [(one["first_page"], one["last_page"], one["review"]) for one in found["parts"]] == [
        (1, 4, False),
        (5, 6, False),
    ]
    assert (found["decided_cuts"], found["uncertain_cuts"], found["written"]) == (2, 0, 2)
    assert all("_review" not in one["file"] for one in found["parts"])


def test_the_last_of_several_tables_counts(docclf: Callable[..., Outcome], unsure: Path, tmp_path: Path) -> None:
    write_packet(tmp_path / "packet.pdf", PACKET)
    sha256 = sha256_of(tmp_path / "packet.pdf")
    for name, page, decision, of in (("a", 4, "cut", sha256), ("b", 4, "join", sha256), ("c", 9, "cut", "0" * 64)):
        (tmp_path / f"{name}.csv").write_text(f"packet,sha256,page,decision\npacket.pdf,{of},{page},{decision}\n")
    tables = [word for name in "abc" for word in ("--cuts", f"{name}.csv")]
    outcome = docclf("split-packets", unsure, "packet.pdf", *tables, *SPLIT)
    assert [(one["first_page"], one["review"]) for one in outcome.json["parts"]] == [(1, True), (5, True)]
    assert outcome.json["decided_cuts"] == 1
    assert "1 decisions are about other packets" in outcome.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("packet,sha256,page,decision\na.pdf,0,4,maybe\n", "row 2: decision 'maybe' is not one of cut, join"),
        ("packet,sha256,page,decision\na.pdf,0,1,cut\n", "row 2: page '1' is no page from 2 on"),
        ("packet,page,decision\na.pdf,4,cut\n", "has no column 'sha256'"),
    ],
)
def test_a_damaged_table_of_cuts_is_refused(
    docclf: Callable[..., Outcome], unsure: Path, tmp_path: Path, text: str, message: str
) -> None:
    write_packet(tmp_path / "packet.pdf", PACKET)
    (tmp_path / "cuts.csv").write_text(text)
    outcome = docclf("split-packets", unsure, "packet.pdf", "--cuts", "cuts.csv")
    assert outcome.code == 2
    assert message in outcome.stderr


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json"])
def test_tables_and_json_give_the_same_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_packet(tmp_path / "packet.pdf", PACKET)
    parts = [
        {"packet": "packet.pdf", "part": 1, "first_page": 1, "last_page": 4, "class": "contract", "uncertain": [4], "cut_probabilities": [0.4]},
        {"packet": "packet.pdf", "part": 2, "first_page": 5, "last_page": 6, "class": None, "uncertain": [5], "cut_probabilities": [0.9]},
        {"packet": "gone.pdf", "part": None, "first_page": None, "last_page": None, "class": None, "uncertain": [], "cut_probabilities": []},
    ]  # fmt: skip
    path = tmp_path / f"found{suffix}"
    if suffix == ".json":
        path.write_text(
            json.dumps({"model": "nowhere", "parts": [{**one, "predicted": one.pop("class")} for one in parts]})
        )
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(one) + "\n" for one in parts))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*parts[0]])
            writer.writeheader()
            for one in parts:
                writer.writerow(
                    {
                        name: " ".join(map(str, value)) if isinstance(value, list) else value
                        for name, value in one.items()
                    }
                )
    queue = open_queue(path)
    assert [(item.suggested, round(item.confidence or 0, 6)) for item in queue.items] == [("join", 0.6), ("cut", 0.9)]
    assert [[page.label for page in item.pages] for item in queue.items] == [
        ["contract", "contract"],
        ["contract", None],
    ]
    assert [[page.number for page in item.pages] for item in queue.items] == [[2, 3], [3, 4]]
    assert ordered(queue.items, UNCERTAIN)[0] == 0
    (tmp_path / "packet.pdf").unlink()
    with pytest.raises(InputError, match=r"there is no packet packet\.pdf"):
        open_queue(path)


def test_what_does_not_fit_cuts_is_refused(docclf: Callable[..., Outcome], unsure: Path, tmp_path: Path) -> None:
    write_packet(tmp_path / "packet.pdf", PACKET)
    docclf("split-packets", unsure, "packet.pdf", "--output", "documents.csv", *SPLIT)
    assert "--learn" in docclf("review", "documents.csv", "--learn").stderr
    assert "about cuts" in docclf("review", "documents.csv", "--export", "--format", "label-studio").stderr
    (tmp_path / "bad.json").write_text("{}")
    assert "is no JSON of `docclf split-packets`" in docclf("review", "bad.json").stderr
    (tmp_path / "sure.csv").write_text("packet,part,first_page,last_page,class,uncertain\npacket.pdf,1,1,6,contract,\n")
    assert "there is nothing to review" in docclf("review", "sure.csv").stderr
    outcome = docclf("review", "documents.csv", "--export", "--json")
    assert (outcome.code, outcome.json["items"], outcome.json["left"]) == (0, 2, 2)
    (tmp_path / "packet.pdf").write_bytes(b"another one")


def test_a_packet_that_has_changed_is_offered_again(
    docclf: Callable[..., Outcome], serving: Callable[..., ReviewClient], unsure: Path, tmp_path: Path
) -> None:
    write_packet(tmp_path / "packet.pdf", PACKET)
    docclf("split-packets", unsure, "packet.pdf", "--output", "documents.jsonl", *SPLIT)
    client = serving("documents.jsonl")
    for item in client.next(count=4):
        assert decide(client, item, "cut") == 200
    client.end()  # type: ignore[attr-defined]
    outcome = docclf("review", "documents.jsonl", "--export", "--json")
    table = tmp_path / "documents-review" / "review_cuts.csv"
    assert outcome.json["next_commands"] == [f"docclf split-packets packet.pdf --cuts {table} --write documents"]
    write_packet(tmp_path / "packet.pdf", [*PACKET, ("invoice", 0)])
    outcome = docclf("review", "documents.jsonl", "--export", "--json")
    assert (outcome.json["left"], outcome.json["labelled"]) == (2, 0)
    assert rows(table) == []
