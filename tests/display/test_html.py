"""The report as one HTML file: what is in it, and what a real browser makes of it."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prediction_cases import at_random

from docclf_cli.display.html import MOST_CLASSES, Page, write_page
from docclf_cli.display.html.charts import risk_coverage_chart, training_charts
from docclf_cli.metrics.class_metrics import score
from docclf_cli.metrics.mistakes import most_confused, pages_to_show
from docclf_cli.results.class_report import ClassReport
from docclf_cli.results.metrics import ClassGap, Estimate
from docclf_cli.results.predictions import Predictions

SCRIPT, IMAGE = "<script>document.title='bad'</script>", '"><img src=x onerror="document.title=\'bad\'">'
NAMES = (SCRIPT, IMAGE, "</script><b>영수증", "{{ 7 * 7 }}")
HISTORY = (
    {"epoch": 1, "lr": 0.01, "train_loss": 2.0, "val_loss": 1.5, "f1_macro": 0.4},
    {"epoch": 2, "lr": 0.001, "train_loss": 1.0, "val_loss": 1.0, "f1_macro": 0.6},
)
FACTS = {"model": "resnet18", "data": "<i>pages</i>", "trained": "2026-01-02"}


def _predictions(pages: int = 80, names: tuple[str, ...] = NAMES) -> Predictions:
    made = at_random(1, pages, classes=len(names), skill=2.0)
    ids = np.array([f"{number}<img src=y onerror=alert(1)>.jpg" for number in range(pages)])
    return Predictions(ids, made.log_probs, names, made.targets)


def _page(predictions: Predictions, most: int = 500, thumbnails: bool = True) -> Page:
    none = Estimate(float("nan"), float("nan"), float("nan"))
    gaps = [ClassGap(name, "accuracy", none, False) for name in predictions.class_names]
    gaps[0] = ClassGap(predictions.class_names[0], "accuracy", Estimate(0.2, 0.1, 0.3), True)
    report = ClassReport(
        Path("runs/mine"), "val", score(predictions, temperature=1.3), most_confused(predictions), tuple(gaps), 1.3
    )
    shown = pages_to_show(predictions, most=most)
    pictures = {str(page_id): _jpeg() for page_id in predictions.ids[shown]} if thumbnails else None
    return Page(report, predictions, shown, pictures, HISTORY, "data:\n  root: <b>&\n", FACTS, 2)


def _jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "gray").save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("page") / "report.html", _page(_predictions(), most=40))


def _data(path: Path) -> Any:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), flags=re.DOTALL)
    return json.loads(data)


def test_names_are_text_everywhere(path: Path) -> None:
    text = path.read_text()
    for hostile in (SCRIPT, IMAGE, "<img src=y", "</script><b>", "root: <b>", "<i>pages</i>"):
        assert hostile not in text
    assert "{{ 7 * 7 }}" in text
    assert text.count("<script") == 2
    assert _data(path)["classes"] == list(NAMES)


def test_the_policy_allows_this_script_alone_and_nothing_from_outside(path: Path) -> None:
    text = path.read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', text)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "//" not in re.sub(r"// Names are|base64,[^\"]*", "", text).replace("</", "")


def test_pages_are_those_asked_for_with_their_pictures(path: Path) -> None:
    predictions = _predictions()
    pages = _data(path)["pages"]
    rows = pages_to_show(predictions, most=40)
    assert [page["id"] for page in pages] == predictions.ids[rows].tolist()
    assert [page["target"] for page in pages] == predictions.labels[rows].tolist()
    assert all(Image.open(io.BytesIO(base64.b64decode(page["image"].partition(",")[2]))).size for page in pages)
    confidence = predictions.probs(1.3).max(axis=1)[rows]
    assert [page["confidence"] for page in pages] == pytest.approx(confidence.tolist(), abs=1e-4)


def test_without_thumbnails_no_picture_is_in_the_file(tmp_path: Path) -> None:
    path = write_page(tmp_path / "report.html", _page(_predictions(), thumbnails=False))
    assert "image/jpeg" not in path.read_text()
    assert len(_data(path)["pages"]) == 80


def test_the_matrix_counts_and_the_table_have_every_class(path: Path) -> None:
    predictions = _predictions()
    text = path.read_text()
    cells = re.findall(r'data-target="(\d+)" data-predicted="(\d+)" data-count="(\d+)"', text)
    assert sum(int(count) for _, _, count in cells) == 80
    for target, predicted, count in cells:
        same = (predictions.labels == int(target)) & (predictions.predicted() == int(predicted))
        assert same.sum() == int(count)
    assert text.count('<th scope="row" data-value=') == 4
    assert text.count("over-fits") == 1


def test_of_very_many_classes_those_with_mistakes_are_in_the_matrix(tmp_path: Path) -> None:
    names = tuple(f"class {number}" for number in range(MOST_CLASSES + 20))
    targets = np.arange(len(names))
    named = targets.copy()
    named[110:] = 119
    log_probs = np.log(np.eye(len(names))[named] * 0.9 + 1e-4).astype(np.float32)
    pages = Predictions(targets.astype(np.str_), log_probs, names, targets)
    text = write_page(tmp_path / "report.html", _page(pages)).read_text()
    assert "The 20 classes with the fewest mistakes are not shown" in text
    assert text.count('<th scope="col"><span>') == MOST_CLASSES
    assert text.count('data-predicted="119"') == 10


def test_one_page_of_one_class_and_no_mistake_are_enough(tmp_path: Path) -> None:
    pages = Predictions(np.array(["a"]), np.log([[0.9, 0.1]]).astype(np.float32), ("a", "b"), np.array([0]))
    text = write_page(tmp_path / "report.html", _page(pages)).read_text()
    assert not re.search(r"\bnan\b", text, flags=re.IGNORECASE)
    assert "Most confident mistakes" not in text


def test_a_curve_of_many_pages_is_thinned_and_starts_with_some_pages() -> None:
    predictions = at_random(0, 5000, classes=3)
    chart = risk_coverage_chart(predictions, 1.0)
    points = [tuple(map(float, point.split(","))) for point in chart.lines[0].points.split()]
    assert len(points) == 400
    assert points[0][0] == pytest.approx(10 / 5000 * chart.width, abs=0.1)
    assert points[-1][0] == chart.width


def test_curves_are_those_of_the_history() -> None:
    losses, metrics, rate = training_charts(HISTORY, 2)
    assert [line.name for line in losses.lines] == ["training loss", "validation loss"]
    assert [line.name for line in metrics.lines] == ["macro-F1"]
    assert [tip for _, _, tip in losses.lines[0].dots] == ["epoch 1: 2", "epoch 2: 1"]
    assert [tip for _, _, tip in rate.lines[0].dots] == ["epoch 1: 0.01", "epoch 2: 0.001"]
    assert losses.mark == metrics.mark == rate.mark == losses.width
    assert training_charts(()) == ()


def test_the_head_says_what_was_trained_when_and_on_what(path: Path) -> None:
    head = path.read_text().partition("<main>")[0]
    facts = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", head)
    assert facts == [("model", "resnet18"), ("data", "&lt;i&gt;pages&lt;/i&gt;"), ("trained", "2026-01-02")]


def test_the_table_of_thresholds_is_what_each_confidence_decides(path: Path) -> None:
    predictions = _predictions()
    table = path.read_text().partition('class="thresholds"')[2].partition("</table>")[0]
    rows = re.findall(r"≥ ([\d.]+)</th><td>(\d+) of 80</td>.*?<td>([\d–]+)</td></tr>", table, flags=re.DOTALL)
    confidence = predictions.probs(1.3).max(axis=1)
    wrong = predictions.predicted() != predictions.labels
    expected = [(confidence >= float(value), value) for value, _, _ in rows]
    assert [value for value, _, _ in rows] == ["0.50", "0.60", "0.70", "0.80", "0.90", "0.95", "0.99"]
    assert [int(decided) for _, decided, _ in rows] == [int(decided.sum()) for decided, _ in expected]
    shown = [str((decided & wrong).sum()) if decided.any() else "–" for decided, _ in expected]
    assert [count for _, _, count in rows] == shown


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_in_a_browser(browser: Any, path: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: trouble.append(dialog.message))
    page.on("request", lambda request: trouble.append(request.url) if _leaves(request.url, path) else None)
    page.goto(path.as_uri())

    assert page.title() == "runs/mine: held-out pages by class"
    assert page.evaluate("document.documentElement.scrollWidth") == width  # wide tables scroll by themselves
    _check_sorting(page)
    _check_cells(page)
    _check_enlarging(page)
    assert trouble == []
    page.close()


def _leaves(url: str, path: Path) -> bool:
    return url != path.as_uri() and not url.startswith("data:")


def _check_sorting(page: Any) -> None:
    def shown(column: int) -> list[str]:
        return page.locator(f"#classes tbody tr > :nth-child({column})").evaluate_all("all => all.map(one => one.dataset.value)")  # fmt: skip

    page.get_by_role("button", name="F1").click()
    assert shown(5) == sorted(shown(5), reverse=True)
    page.get_by_role("button", name="F1").click()
    assert shown(5) == sorted(shown(5))
    assert page.locator("#classes th[aria-sort=ascending]").inner_text().startswith("F1")
    page.get_by_role("button", name="gap").click()
    assert shown(7) == ["0.200000", "", "", ""]
    page.get_by_role("button", name="gap").click()
    assert shown(7) == ["0.200000", "", "", ""]  # what is missing stays last


def _check_enlarging(page: Any) -> None:
    picture = page.locator("#mistakes img").first
    small = picture.bounding_box()["width"]
    picture.click()
    large = page.locator("#zoom-image")
    assert large.get_attribute("src") == picture.get_attribute("src")
    assert large.bounding_box()["width"] > 2 * small
    assert "→" in page.locator("#zoom-caption").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#zoom").is_visible()


def _check_cells(page: Any) -> None:
    dialog = page.locator("#cell")
    cell = page.locator("[data-target='0'][data-predicted='1']")
    count = int(cell.inner_text())
    cell.click()
    assert page.locator("#cell-title").inner_text() == f"{SCRIPT}, predicted as {IMAGE}"
    assert page.locator("#cell-note").inner_text().startswith(f"{count} page")
    assert dialog.locator("img").count() == dialog.locator("figure").count() == count
    assert dialog.locator("img").first.evaluate("image => image.naturalWidth") == 8
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    correct = page.locator("[data-target='1'][data-predicted='1']")
    correct.click()
    missing = int(correct.inner_text()) - dialog.locator("figure").count()
    assert f"{missing} of them are not in this file" in page.locator("#cell-note").inner_text()
    page.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()
