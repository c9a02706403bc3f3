"""What README and the pages of docs/ show works as it is written, and points to what exists.

A block that begins with ```bash is run: its lines that start with `docclf`, one after another. A block of ```python is run as well. Other blocks, such
as ```sh and ```py, are only shown. The blocks of a page run in a folder with `my-pages`, `scans`, and the runs `first` and `second`; those of README
run without the runs, because README makes one. A `configs/config.yaml` in that folder keeps training short.
"""

import csv
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import CliProcess, Outcome

from docclf_cli.data.samples.samples import render_samples

ROOT = Path(__file__).parent.parent
README, README_KO = ROOT / "README.md", ROOT / "README.ko.md"
KOREAN = [README_KO, *sorted((ROOT / "docs" / "ko").rglob("*.md"))]
ENGLISH = [README, *sorted(path for path in (ROOT / "docs").rglob("*.md") if path not in KOREAN)]
LONGEST_README = 250
SHORT_TRAINING = """\
data: {image_size: 48}
model: {name: test_resnet, pretrained: false}
optimizer: {name: adamw, lr: 0.003}
augmentation: light
train: {epochs: 1, batch_size: 8}
"""


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def _commands(page: Path) -> list[list[str]]:
    # A script has a test of its own.
    blocks = [block for block in _blocks(page, "bash") if not block.startswith("#!")]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("docclf ")]


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="session")
def pages_and_runs(tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> Path:
    """The folder that the pages of docs/ start from."""
    folder = tmp_path_factory.mktemp("docs")
    samples = render_samples(folder / "drawn", pages_per_class=6, test_pages_per_class=1)
    with (samples / "meta.csv").open() as meta, (samples / "train.csv").open() as train:
        names = {row["target"]: row["class_name"] for row in csv.DictReader(meta)}
        for row in csv.DictReader(train):
            place = folder / "my-pages" / names[row["target"]]
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(samples / "train" / row["ID"], place)
    (folder / "scans").mkdir()
    for number, page in enumerate(sorted((samples / "test").iterdir()), 1):
        shutil.copy(page, folder / "scans" / f"page-{number}.jpg")
    (folder / "configs").mkdir()
    (folder / "configs" / "config.yaml").write_text(SHORT_TRAINING)
    for name, seed in (("first", "0"), ("second", "1")):
        command = ("train", "my-pages", "--name", name, "--seed", seed)
        outcome = CliProcess(command, folder, {"XDG_CACHE_HOME": str(cache_home)}).wait()
        assert outcome.code == 0, outcome.stderr
    return folder


@pytest.fixture
def here(tmp_path: Path, pages_and_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, which is the working folder."""
    shutil.copytree(pages_and_runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in ENGLISH if _commands(page)], ids=_name)
def test_commands_run_in_order(page: Path, here: Path, docclf: Callable[..., Outcome]) -> None:
    if page == README:
        shutil.rmtree(here / "runs")
    for command in _commands(page):
        outcome = docclf(*command)
        assert outcome.code == 0, f"docclf {shlex.join(command)}\n{outcome.stderr}"
        assert outcome.stdout


@pytest.mark.parametrize("page", [page for page in ENGLISH if _blocks(page, "python")], ids=_name)
def test_python_runs(page: Path, here: Path) -> None:
    names: dict[str, object] = {}
    for block in _blocks(page, "python"):
        exec(compile(block, _name(page), "exec"), names)


def test_readme_shows_five_commands() -> None:
    assert len(_commands(README)) == 5


def test_korean_pages_show_commands_that_run() -> None:
    run = [command for page in ENGLISH for command in _commands(page)]
    assert [(_name(page), shlex.join(one)) for page in KOREAN for one in _commands(page) if one not in run] == []
    assert _commands(README_KO) == _commands(README)
    assert all(command in README_KO.read_text(encoding="utf-8") for command in ("make demo", "make test"))


@pytest.mark.parametrize("readme", [README, README_KO], ids=_name)
def test_a_readme_is_short(readme: Path) -> None:
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= LONGEST_README


@pytest.mark.parametrize("page", [*ENGLISH, *KOREAN], ids=_name)
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("https://", "#")):
            assert (page.parent / target.partition("#")[0]).is_file(), target


def test_named_files_of_the_project_are_there() -> None:
    """Wherever a text of the project names a file of docs/, benchmarks/, tests/ or the package."""
    texts = [*ENGLISH, *KOREAN, ROOT / "CONTRIBUTING.md", ROOT / "mkdocs.yml", ROOT / "Makefile"]
    texts += [*(ROOT / "docclf_cli").rglob("*.py"), *(ROOT / "configs").rglob("*.yaml")]
    named = re.compile(r"(?<![\w/.])(?:README[\w.]*\.md|(?:docs|benchmarks|docclf_cli|tests)/[\w./-]*\.(?:md|py))")
    found = {(text, name) for text in texts for name in named.findall(text.read_text(encoding="utf-8"))}
    assert len(found) > 20
    missing = [
        f"{_name(text)}: {name}"
        for text, name in sorted(found)
        if not ((ROOT / name).is_file() or (text.parent / name).is_file())
    ]
    assert missing == []


def test_the_reference_of_profile_keys_is_current() -> None:
    from docclf_cli.profile.reference import reference

    assert reference().strip() in (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def test_the_site_is_built_and_loads_nothing_from_outside(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for page in (path for path in (ROOT / "docs").rglob("*.md")):
        built = (tmp_path / page.relative_to(ROOT / "docs")).with_suffix(".html").read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)\b[^>]*\bsrc=[\"']?([^\"'\s>]+)", built)
        loaded += re.findall(r"<link\b[^>]*\bhref=[\"']?([^\"'\s>]+)", built)
        assert loaded
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == []
