"""The `.env` file and what is kept out of texts."""

import io
import logging
import os
from pathlib import Path

import dotenv
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from docclf_cli.errors import InputError
from docclf_cli.services import env
from docclf_cli.services.env import find_env, load_env, redact

pytestmark = pytest.mark.usefixtures("clean_environment")
EXAMPLE = Path(__file__).parents[2] / "env_example.txt"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").touch()
    return tmp_path / "project"


def _write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / ".env"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_nearest_file_up_to_the_root_is_read(project: Path) -> None:
    _write(project.parent, "WANDB_PROJECT=outside\n")
    assert load_env(project / "deep" / "er") is None
    _write(project, "WANDB_PROJECT=root\n")
    _write(project / "deep", "WANDB_PROJECT=deep\n")
    file = load_env(project / "deep" / "er")
    assert file is not None
    assert file.path == project / "deep" / ".env"
    assert os.environ["WANDB_PROJECT"] == "deep"


def test_without_a_root_only_the_working_folder_is_searched(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    _write(tmp_path, "WANDB_PROJECT=above\n")
    assert find_env(tmp_path / "sub") is None
    assert find_env(tmp_path) is not None


def test_the_real_environment_wins_even_when_empty(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(project, "CUDA_VISIBLE_DEVICES=0\nWANDB_PROJECT=file\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("WANDB_PROJECT", "real")
    load_env(project)
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["WANDB_PROJECT"]) == ("", "real")


def test_other_variables_are_not_read(project: Path) -> None:
    _write(project, "LD_PRELOAD=/tmp/x.so\nPATH=/evil\nPYTHONPATH=/evil\nWANDB_PROJECT=p\n")
    before = dict(os.environ)
    file = load_env(project)
    assert file is not None
    assert file.unknown == ("LD_PRELOAD", "PATH", "PYTHONPATH")
    assert {**before, "WANDB_PROJECT": "p"} == dict(os.environ)


def test_quotes_comments_export_and_windows_line_ends(project: Path) -> None:
    text = (
        '\ufeff# keys\r\nexport WANDB_API_KEY="a b#c"  # mine\r\n\r\n'
        "AWS_SECRET_ACCESS_KEY='a$b${HOME}+/='\r\nS3_BUCKET_NAME=abc # x\r\n"
    )
    _write(project, text)
    file = find_env(project)
    assert file is not None
    assert dict(file.values) == {
        "WANDB_API_KEY": "a b#c",
        "AWS_SECRET_ACCESS_KEY": "a$b${HOME}+/=",
        "S3_BUCKET_NAME": "abc",
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("WANDB_PROJECT=a\n\n# c\nWANDB_API_KEY: abc\n", 4),
        ("WANDB_API_KEY\n", 1),
        ("\nWANDB_API_KEY='abc\n", 2),
        ("WANDB_PROJECT=a\nWANDB_PROJECT=b\n", 2),
    ],
)
def test_a_line_that_would_be_dropped_is_an_error(project: Path, text: str, line: int) -> None:
    path = _write(project, text)
    with pytest.raises(InputError) as raised:
        load_env(project)
    assert raised.value.message.startswith(f"{path}:{line}:")
    assert "abc" not in raised.value.message


@pytest.mark.parametrize(
    "content",
    [b'KEY="-----BEGIN\nabc\n-----END"\n', b"foo: bar\nsome words\nA='b\n", b"A=1\nA=2\n", b"A=\0\n", b"\xff\xfe"],
)
def test_the_file_of_another_program_stops_nothing(project: Path, content: bytes) -> None:
    (project / ".env").write_bytes(content + b"WANDB_PROJECT=ours\n")
    file = load_env(project)
    assert file is None or dict(file.values) in ({"WANDB_PROJECT": "ours"}, {})


def test_a_file_that_cannot_be_read_is_warned_about(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _write(project, "WANDB_PROJECT=p\n")
    monkeypatch.setattr(logging.getLogger("docclf"), "propagate", True)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert load_env(project) is None
    assert "is ignored: Permission denied" in caplog.text


@given(st.text(alphabet="AB_= \n#'\"x$", max_size=40))
@example("A=\nA")
def test_what_is_accepted_is_what_python_dotenv_reads(text: str) -> None:
    try:
        found = {name: value for _, name, value in env._bindings(Path(".env"), text)}
    except InputError:
        return
    read = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
    bare = {name for name, value in read.items() if value is None}  # whose last line has no `=`
    assert {name: value for name, value in found.items() if name not in bare} == {
        name: value for name, value in read.items() if name not in bare
    }


def test_a_file_of_someone_else_is_passed_over(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _write(project / "deep", "WANDB_PROJECT=theirs\n")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.setattr(logging.getLogger("docclf"), "propagate", True)
    assert load_env(project / "deep") is None
    assert "WANDB_PROJECT" not in os.environ
    assert "belongs to someone else" in caplog.text


def test_secrets_that_others_can_read_are_warned_about(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("docclf"), "propagate", True)
    _write(project, "WANDB_PROJECT=p\n", 0o644)
    load_env(project)
    assert not caplog.text
    _write(project, "WANDB_API_KEY=0123456789\n", 0o644)
    load_env(project)
    assert "chmod 600" in caplog.text
    assert "0123456789" not in caplog.text


def test_a_folder_or_pipe_named_env_is_not_read(project: Path) -> None:
    (project / "deep" / ".env").mkdir()
    os.mkfifo(project / ".env")
    assert find_env(project / "deep") is None


def test_the_example_copied_unchanged_sets_no_secret_and_no_target(project: Path) -> None:
    _write(project, EXAMPLE.read_text())
    file = load_env(project)
    assert file is not None
    assert dict(file.values) == {"WANDB_PROJECT": "document-classification", "AWS_DEFAULT_REGION": "us-east-1"}


def test_the_example_uncommented_still_sets_no_secret_and_no_bucket(project: Path) -> None:
    lines = [line.removeprefix("# ") if "=" in line else line for line in EXAMPLE.read_text().splitlines()]
    _write(project, "\n".join(lines))
    file = load_env(project)
    assert file is not None
    assert not {"WANDB_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_BUCKET_NAME"} & set(file.values)


def test_the_example_names_every_variable() -> None:
    text = EXAMPLE.read_text()
    assert all(f"{variable.name}=" in text for variable in env.VARIABLES)


def test_placeholders_in_the_environment_count_as_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "your_wandb_api_key_here")
    load_env(tmp_path)
    assert "WANDB_API_KEY" not in os.environ


def test_secrets_are_cut_out_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ab/cd+ef==")
    monkeypatch.setenv("WANDB_PROJECT", "documents")
    text = "key ab/cd+ef== in ?k=ab%2Fcd%2Bef%3D%3D of documents at https://me:p@ss@host/path"
    assert (
        redact(text)
        == "key [AWS_SECRET_ACCESS_KEY] in ?k=[AWS_SECRET_ACCESS_KEY] of documents at https://[user]@host/path"
    )


@pytest.mark.parametrize("text", ["mail me@example.com", "s3://bucket/a@b", "https://host/?q=a@b", "a://b c@d"])
def test_innocent_texts_stay_as_they_are(text: str) -> None:
    assert redact(text) == text
