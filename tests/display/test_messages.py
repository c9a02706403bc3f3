"""Tables in Korean: every text has one, with the values of the English one, and the environment or an option asks for it."""

import ast
import functools
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from result_examples import example, rendered

from docclf_cli.display.messages import KOREAN, choose_language, language, said
from docclf_cli.display.show import jsonable
from docclf_cli.metrics.metrics import METRICS
from docclf_cli.results.reference import RESULTS
from docclf_cli.text import Message

PACKAGE = Path(__file__).parents[2] / "docclf_cli"


def _names(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def _texts() -> Iterator[tuple[str, set[str]]]:
    """Each text that is shown, and the values it is given."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("said", "Message.of") and node.args:
                text = node.args[0]
                if isinstance(text, ast.Constant):
                    yield str(text.value), {str(keyword.arg) for keyword in node.keywords}
    yield from ((entry.build.label, set()) for entry in METRICS)


def _is_in_the_source(text: str) -> bool:
    """Whether the source has a text outside of the catalogue; a long one may be put together of two."""
    return text in _constants() or any(len(end) > 20 and text.endswith(end) for end in _constants())


@functools.cache
def _constants() -> set[str]:
    trees = (
        ast.parse(path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
        if not path.stem.startswith("korean_")
    )
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_text_that_is_shown_has_a_korean_one_and_no_other_has() -> None:
    texts = dict(_texts())
    assert set(texts) <= set(KOREAN)
    assert [text for text in KOREAN if text not in texts and not _is_in_the_source(text)] == []
    for text, values in texts.items():
        assert "None" in values or _names(text) <= values  # None: a mapping of values
        assert _names(KOREAN[text]) <= (_names(text) if "None" in values else values)


@pytest.fixture
def _korean() -> Iterator[None]:
    choose_language("ko")
    yield
    choose_language(None)


@pytest.mark.usefixtures("_korean")
def test_words_are_those_of_the_earlier_framework() -> None:
    text = rendered(example(RESULTS["train"], "영수증"))
    for word in ("클래스", "정확도", "F1 점수", "손실", "샘플 수", "판정"):
        assert word in text
    assert "accuracy" not in text


@pytest.mark.usefixtures("_korean")
def test_a_message_is_said_again_with_its_values_and_is_english_elsewhere() -> None:
    message = Message.of("Never predicted: {names}.", names="{영수증}, 이력서")
    assert said(message) == "한 번도 예측되지 않은 클래스: {영수증}, 이력서."
    assert jsonable(message) == message == "Never predicted: {영수증}, 이력서."
    assert said("a text of nobody {x}") == "a text of nobody {x}"
    both = Message.joined([message, Message.of("Leave it out.")])
    assert both == "Never predicted: {영수증}, 이력서. Leave it out."
    assert said(both) == "한 번도 예측되지 않은 클래스: {영수증}, 이력서. 쓰지 마십시오."
    assert (
        said(Message.of("from {origin}", origin=Message.of("the installed package {name}", name="x")))
        == "설치된 패키지 x에서"
    )


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "C", "LC_MESSAGES": "ko_KR.UTF-8"}, "ko"),
        ({}, "en"),
    ],
)
def test_the_environment_asks_for_a_language(
    environment: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docclf_cli.display.messages.is_utf8", lambda stream: True)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language() == found
    monkeypatch.setattr("docclf_cli.display.messages.is_utf8", lambda stream: False)
    assert language() == "en"
