"""Names and texts use the terms of the field; CONTRIBUTING lists which words were retired, and for what."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE = sorted(path for folder in ("docclf_cli", "tests") for path in (ROOT / folder).rglob("*.py"))
TEXTS = [
    *CODE,
    *sorted((ROOT / "docclf_cli" / "display" / "html").glob("page.*")),
    *sorted((ROOT / "docclf_cli" / "tasks" / "review" / "web" / "static").glob("*.*")),
    *sorted((ROOT / "benchmarks").glob("*.*")),
    *sorted((ROOT / "configs").rglob("*.yaml")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("README*.md")),
]
# Words that no name may contain.
IN_NAMES = frozenset(
    (
        "jury juries decider voice voices sheaf sheaves crew crews twin twins trust trusted doubtful damage "
        "damages mend"
    ).split()
)
# Names that are retired as a whole; their words are ordinary ones elsewhere.
NAMES = frozenset(
    (
        "Team Ground Answers Panel Combined Wanted Look Seen CheckpointFacts Contents Material Fitted "
        "Recorder Background Frozen StepFigures Parts Grid Trust Trusted Question Wish Desk "
        "Evidence for_a_person kept_epoch score_kept same_page settle_down catch_up carried_over"
    ).split()
)
# Words and phrases that no text may contain.
IN_TEXTS = re.compile(
    r"\b(jury|juries|sheaf|sheaves|twins?|crews?|deciders?|voices?|doubtful|mend|mends|mended"
    r"|kept epochs?|odd pages?|for a person|without a word|people change most|(?:go|goes|going) on with)\b",
    re.IGNORECASE,
)
EXEMPT = frozenset((Path(__file__),))


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _names(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(_tree(path)):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield line, name
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                yield line, name
            case ast.alias(name=name, asname=asname):
                yield from ((line, part) for part in (*name.split("."), asname) if part)


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def _place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_no_name_uses_a_retired_word() -> None:
    found = [
        f"{_place(path, line)}: {name}"
        for path in CODE
        if path not in EXEMPT
        for line, name in _names(path)
        if name in NAMES or _words(name) & IN_NAMES
    ]
    assert found == []


def test_no_file_is_named_by_a_retired_word() -> None:
    assert [str(path.relative_to(ROOT)) for path in CODE if _words(path.stem) & IN_NAMES] == []


def test_no_text_uses_a_retired_word() -> None:
    found = [
        f"{_place(path, number)}: {match[0]}"
        for path in TEXTS
        if path not in EXEMPT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in IN_TEXTS.finditer(line)
    ]
    assert found == []


def test_no_text_is_a_type_name_by_mistake() -> None:
    """Texts that users see are never the name of a class: a renaming of types must not reach into them."""
    types = {
        node.name
        for path in CODE
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef) and re.search("[a-z][A-Z]", node.name)
    }
    shown = {"add_column", "add_row", "Table", "_title", "plain_table", "get", "__getitem__"}
    found = []
    for path in CODE:
        for node in ast.walk(_tree(path)):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
            texts = [
                value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)
            ]
            found += [f"{_place(path, node.lineno)}: {text}" for text in texts if called in shown and text in types]
    assert found == []
