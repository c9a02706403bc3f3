"""The house rules that a machine can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "docclf_cli"
FLOORS = (
    {"__main__"},
    {"app"},
    {"commands"},
    {"report", "report_html", "engine", "services"},
    {"data", "models", "training", "ensembling", "metrics"},
    {"profile"},
    {"results", "registry", "errors", "files", "machine", "names", "streams", "user_folders"},
)
# Rooms of one floor that may use each other: the report is told about the engine's values, never the other way.
SAME_FLOOR = {("report", "services"), ("report_html", "report")}
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else "results"


def _imports(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    found = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    found += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return [name for name in found if name.startswith("docclf_cli.")]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    relative = path.relative_to(PACKAGE).with_suffix("")
    room = relative.parts[0]
    if room == "__init__":
        pytest.skip("the package itself only forwards names")
    for module in _imports(path):
        other = _room(module)
        same_room = other == room
        downwards = LEVEL[other] > LEVEL[room]
        foundation = LEVEL[room] == LEVEL[other] == len(FLOORS) - 1
        assert same_room or downwards or foundation or (room, other) in SAME_FLOOR, f"{relative} imports {module}"


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
        "pydantic.main",
    ]
    code = f"import sys, docclf_cli.app; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
