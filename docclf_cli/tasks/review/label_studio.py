"""A review in the JSON of Label Studio: its tasks with predictions and annotations, and the labelling interface for them.

The format is that of https://labelstud.io/guide/task_format and https://labelstud.io/guide/predictions: one choice for each image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from docclf_cli.files import write_json, write_text
from docclf_cli.tasks.review.queue import ReviewItem, ReviewPage
from docclf_cli.tasks.review.session import LABEL, UNKNOWN, Decision, ReviewSession

TASKS_FILE, INTERFACE_FILE = "label_studio.json", "label_studio.xml"
FROM, TO = "class", "page"
_LOCAL = "/data/local-files/?d="


def write_label_studio(session: ReviewSession, folder: Path, save_page: Callable[[ReviewPage], Path]) -> list[Path]:
    """Write the tasks and the interface, and return both files.

    Args:
        session: The review.
        folder: Where they go.
        save_page: Gives the image of a page, that of a PDF or TIFF file as a file of its own.

    Raises:
        UnreadablePage: A page of a PDF or TIFF file cannot be read.
        ResourceError: The disk is full.
    """
    pages = [(item, page, save_page(page)) for item in session.queue.items for page in item.pages]
    root = Path(os.path.commonpath([str(path.parent) for _, _, path in pages])) if pages else folder
    tasks = [_task(item, page, path, root, session.decisions.get(item.key)) for item, page, path in pages]
    write_json(folder / TASKS_FILE, tasks)
    write_text(folder / INTERFACE_FILE, "\n".join(_interface(session.class_names)) + "\n")
    return [folder / TASKS_FILE, folder / INTERFACE_FILE]


def _task(item: ReviewItem, page: ReviewPage, path: Path, root: Path, decision: Decision | None) -> dict[str, Any]:
    relative = path.relative_to(root).as_posix()
    task: dict[str, Any] = {
        "data": {
            "image": _LOCAL + quote(f"{root.name}/{relative}".lstrip("/"), errors="surrogateescape"),
            "page_id": page.id,
            "path": str(path),
        }
    }
    if page.label is not None:
        task["data"]["given_label"] = page.label
    suggested, score = (
        (item.suggested, item.confidence) if decision is None else (decision.suggested, decision.confidence)
    )
    if suggested is not None:
        by = item.suggested_by if decision is None else decision.suggested_by
        task["predictions"] = [{"model_version": by or "docclf", "score": score or 0.0, "result": _choice(suggested)}]
    if decision is not None and decision.answer in (LABEL, UNKNOWN):
        task["data"]["labelled_by"] = decision.who
        task["annotations"] = [
            {
                "result": [] if decision.label is None else _choice(decision.label),
                "was_cancelled": decision.answer == UNKNOWN,
                "created_at": decision.when,
            }
        ]
    return task


def _choice(label: str) -> list[dict[str, Any]]:
    return [{"from_name": FROM, "to_name": TO, "type": "choices", "value": {"choices": [label]}}]


def _interface(class_names: list[str]) -> Iterator[str]:
    yield "<View>"
    yield f'  <Image name="{TO}" value="$image" zoomControl="true"/>'
    yield f'  <Choices name="{FROM}" toName="{TO}" choice="single" showInline="true">'
    yield from (f"    <Choice value={quoteattr(name)}/>" for name in class_names)
    yield "  </Choices>"
    yield "</View>"
