"""What a review gives to Label Studio."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from docclf_cli.errors import InputError
from docclf_cli.tasks.review.label_studio import write_label_studio
from docclf_cli.tasks.review.queue import BY_FILE, PAGES, ReviewItem, ReviewPage, ReviewQueue
from docclf_cli.tasks.review.review import LABEL_STUDIO, ReviewOptions, review
from docclf_cli.tasks.review.session import ReviewSession

HOSTILE = 'a "quoted" <class> & more'


def test_tasks_hold_predictions_and_annotations(tmp_path: Path) -> None:
    folder = tmp_path / "my scans"
    folder.mkdir()
    items = []
    for number, name in enumerate(("a b.png", "b.png", "c.png", "d.png")):
        Image.new("RGB", (8, 8)).save(folder / name)
        page = ReviewPage(name, folder / name, folder)
        suggested = ("form", 0.75) if number < 2 else (None, None)
        items.append(ReviewItem(name, PAGES, (page,), *suggested))
    session = ReviewSession(ReviewQueue(folder, tuple(items), ("form", HOSTILE)), tmp_path / "review", model_key="fit")
    session.next_items("tab", 4, BY_FILE)
    session.decide("tab", "1", "a b.png", "label", label=HOSTILE, who="kim")
    session.decide("tab", "2", "c.png", "unknown")
    session.decide("tab", "3", "d.png", "skip")
    tasks_file, interface_file = write_label_studio(session, tmp_path / "review", lambda page: page.path)
    tasks = json.loads(tasks_file.read_text())
    interface = ET.fromstring(interface_file.read_text())
    image, choices = interface.find("Image"), interface.find("Choices")
    assert image is not None
    assert choices is not None
    assert [one.get("value") for one in choices] == ["form", HOSTILE]
    assert image.get("value") == "$image"
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=my%20scans/a%20b.png"
    (prediction,), (annotation,) = tasks[0]["predictions"], tasks[0]["annotations"]
    assert (prediction["score"], prediction["model_version"]) == (0.75, "fit")
    for result, label in ((prediction["result"], "form"), (annotation["result"], HOSTILE)):
        (choice,) = result
        assert choice["value"] == {"choices": [label]}
        assert (choice["from_name"], choice["to_name"]) == (choices.get("name"), image.get("name"))
        assert choice["to_name"] == choices.get("toName")
    assert "annotations" not in tasks[1]
    assert (tasks[2]["annotations"][0]["was_cancelled"], tasks[2]["annotations"][0]["result"]) == (True, [])
    assert set(tasks[3]) == {"data"}


def test_pages_of_documents_become_images_of_their_own(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    red, blue = (Image.new("RGB", (20, 30), colour) for colour in ("red", "blue"))
    red.save(scans / "two.tif", save_all=True, append_images=[blue])
    result = review(ReviewOptions(scans, export=True, export_format=LABEL_STUDIO))
    assert [path.name for path in result.files[1:3]] == ["label_studio.json", "label_studio.xml"]
    tasks = json.loads(result.files[1].read_text())
    assert [task["data"]["page_id"] for task in tasks] == ["two.tif#1", "two.tif#2"]
    with Image.open(tasks[1]["data"]["path"]) as saved:
        assert saved.convert("RGB").getpixel((5, 5)) == (0, 0, 255)


def test_a_format_belongs_to_an_export(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="belongs to --export"):
        review(ReviewOptions(tmp_path, export_format=LABEL_STUDIO))
    with pytest.raises(InputError, match="did you mean 'label-studio'"):
        review(ReviewOptions(tmp_path, export=True, export_format="labelstudio"))
