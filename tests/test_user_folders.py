"""Home, caches and paths with `~`, also for a user whom the system does not know."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from docclf_cli.user_folders import cache_home, ensure_home, user_path


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither HOME nor an entry in passwd."""
    for name in ("HOME", "XDG_CACHE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def unknown(_: object) -> object:
        raise KeyError("no such user")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("pwd.getpwnam", unknown)
    return tmp_path


def test_a_user_without_a_home(nobody: Path) -> None:
    assert cache_home().is_relative_to(nobody)
    ensure_home()
    home = Path.home()
    assert home.parent == nobody
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert os.environ["LOGNAME"] == f"uid{os.getuid()}"
    assert cache_home() == home / ".cache" / "docclf"


def test_a_folder_that_others_can_write_to_is_no_home(nobody: Path) -> None:
    trap = nobody / f"docclf-home-{os.getuid()}"
    trap.mkdir()
    trap.chmod(0o777)
    assert not cache_home().is_relative_to(trap)
    trap.rmdir()
    trap.symlink_to(nobody)
    assert not cache_home().is_relative_to(trap)


def test_a_home_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    ensure_home()
    assert os.environ["HOME"] == str(tmp_path)
    assert cache_home() == tmp_path / ".cache" / "docclf"


def test_names_that_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/pages") == Path("/home/me/pages")
    assert user_path("~") == Path("/home/me")
    assert user_path("~backup.jpg") == Path("~backup.jpg")  # there is no such user
    (tmp_path / "~root").touch()
    assert user_path("~root") == Path("~root")
    assert user_path("a/~b") == Path("a/~b")
