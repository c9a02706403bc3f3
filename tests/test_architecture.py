"""The house rules that a machine can check."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "docclf_cli"
# From the top floor down. A package imports from the floors below it; packages of one floor may import each other
# as long as no circle arises.
FLOORS = (
    {"__main__"},
    {"app", "api"},
    {"commands"},
    {"display"},
    {"tasks"},
    {"services"},
    {"engine.training", "engine.inference"},
    {"engine.checkpoints", "engine.runtime"},
    {"data.loading"},
    {"data.index", "data.images", "data.text", "data.packets", "data.samples"},
    {"models", "metrics", "plots", "ensembling"},
    {"profile"},
    {"results"},
    {
        "registry",
        "files",
        "journal",
        "events",
        "stop",
        "text",
        "version",
        "hardware",
        "errors",
        "streams",
        "user_folders",
        "page_ids",
    },
)
LEVEL = {package: level for level, packages in enumerate(FLOORS) for package in packages}
MODULES = {
    ".".join(("docclf_cli", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def _package(module: str) -> str:
    """The part of the house that a module belongs to; empty for the package itself, which only forwards names."""
    parts = module.split(".")[1:]
    return next((name for name in (".".join(parts[:2]), *parts[:1]) if name in LEVEL), "")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("docclf_cli"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("docclf_cli."))


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module: str) -> None:
    own = _package(module)
    if not own:
        pytest.skip("the package itself only forwards names")
    for other in _imports(MODULES[module]):
        assert not _package(other) or LEVEL[_package(other)] >= LEVEL[own], f"{module} imports {other}"


@pytest.mark.parametrize("level", ["packages", "modules"])
def test_there_are_no_circles(level: str) -> None:
    arrows: dict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        for other in _imports(path):
            ends = (module, other) if level == "modules" else (_package(module), _package(other))
            if all(ends) and ends[0] != ends[1]:
                arrows[ends[0]].add(ends[1])
    assert _circle(arrows) == []


def _circle(arrows: dict[str, set[str]]) -> list[str]:
    """A way that comes back to where it started; empty where there is none."""
    done: set[str] = set()

    def walk(place: str, way: list[str]) -> list[str]:
        if place in way:
            return [*way[way.index(place) :], place]
        if place not in done:
            for other in sorted(arrows.get(place, ())):
                if found := walk(other, [*way, place]):
                    return found
            done.add(place)
        return []

    return next((found for place in sorted(arrows) if (found := walk(place, []))), [])


def test_a_circle_would_be_found() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    folders = {path.parent for path in MODULES.values()} - {PACKAGE / "commands"}  # which has a file a subcommand
    sizes = {folder: len(list(folder.glob("*.py"))) for folder in folders}
    assert {str(folder.relative_to(PACKAGE)): size for folder, size in sizes.items() if size > 25} == {}


def test_the_command_line_is_light() -> None:
    heavy = [
        "torch",
        "torchvision",
        "timm",
        "pandas",
        "matplotlib",
        "wandb",
        "boto3",
        "sklearn",
        "scipy",
        "fastapi",
        "starlette",
        "torchcam",
        "uvicorn",
        "pydantic.main",
    ]
    code = f"import sys, docclf_cli.app; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
