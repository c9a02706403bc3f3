"""Folders of the user's: home, caches, and paths that begin with `~`."""

import os
import stat
import tempfile
from pathlib import Path


def user_path(text: str | Path) -> Path:
    """A path as a user typed it, with `~` and `~name` replaced as a shell does it.

    A file whose name begins with `~` is that file; so is `~name` where there is no such user.
    """
    text = str(text)
    if text != "~" and not text.startswith("~/") and os.path.lexists(text):
        return Path(text)
    return Path(os.path.expanduser(text))  # noqa: PTH111  (Path.expanduser raises where there is no such user)


def ensure_home() -> None:
    """Give a user whom the system does not know (a container's `--user 12345`) a home, for libraries ask for it."""
    os.environ.setdefault("HOME", str(_home()))
    if hasattr(os, "getuid") and not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        os.environ["LOGNAME"] = _user_name()


def cache_home() -> Path:
    """The folder for what can be made again, below the user's cache folder (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "docclf"


def _home() -> Path:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111
    return home if home.is_absolute() else _substitute()


def _substitute() -> Path:
    """A folder below that for temporary files which only this user can write to."""
    number = os.getuid() if hasattr(os, "getuid") else "user"
    path = Path(tempfile.gettempdir()) / f"docclf-home-{number}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        facts = path.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="docclf-home-"))
    private = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o022
    return path if private else Path(tempfile.mkdtemp(prefix="docclf-home-"))


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid{os.getuid()}"
