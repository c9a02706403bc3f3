"""Look up profiles and group files by name."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docclf_cli.errors import ProfileError

# No separators: a name cannot leave the folder it is looked up in.
ALIASES = {"offline": "laptop"}  # earlier names of shipped profiles
_NAME = re.compile(r"\w[\w.-]{0,99}")


def config_folders(first: Path | None = None) -> tuple[Path, ...]:
    """`./configs` (or `first` in its place), then the configs that docclf ships."""
    package = Path(__file__).parent.parent
    shipped = package / "configs"
    return (first or Path("configs"), shipped if shipped.is_dir() else package.parent / "configs")


def group_names(section: str, folders: Sequence[Path] | None = None) -> list[str]:
    """Names of the group files of a section; of profiles, where the section is empty."""
    found = {path.stem for folder in folders or config_folders() for path in (folder / section).glob("*.yaml")}
    return sorted(found)


def is_name(value: Any) -> bool:
    """Whether a value is a plain name rather than a path or anything else."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def find_group_file(section: str, name: str, folders: Sequence[Path]) -> Path | None:
    """The file of a plain name, or None."""
    return next((path for folder in folders if _is_file(path := folder / section / f"{name}.yaml")), None)


def find_profile(name: str, folders: Sequence[Path]) -> Path:
    """The file of a profile that is given by name or path.

    Raises:
        ProfileError: There is none.
    """
    names = [one for one in (name, ALIASES.get(name)) if one is not None and is_name(one)]
    found = next((path for one in names if (path := find_group_file("", one, folders)) is not None), None)
    if found or _is_file(Path(name)):
        return found or Path(name)
    from docclf_cli.registry import did_you_mean  # brings pydantic, which completion and --help do without

    known = group_names("", folders)
    raise ProfileError(
        [f"there is no profile '{name}'{did_you_mean(name, known)}"],
        f"known: {', '.join(known)}; or give the path of a .yaml file",
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the file system, a folder without permission
        return False
