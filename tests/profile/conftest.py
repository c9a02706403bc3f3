"""Profiles from a text."""

from collections.abc import Callable
from pathlib import Path

import pytest

from docclf_cli.errors import ProfileError
from docclf_cli.profile.load import LoadedProfile, load_profile


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., LoadedProfile]:
    """Load a profile that is given as text."""

    def load_(text: str, **options: object) -> LoadedProfile:
        path = tmp_path / "p.yaml"
        path.write_text(text, encoding="utf-8")
        return load_profile(str(path), **options)

    return load_


@pytest.fixture
def faults(tmp_path: Path) -> Callable[..., list[str]]:
    """The faults of a profile that is given as text or bytes, without the folder's name."""

    def faults_(text: str | bytes, **options: object) -> list[str]:
        path = tmp_path / "p.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ProfileError) as caught:
            load_profile(str(path), **options)
        return [fault.replace(f"{tmp_path}/", "") for fault in caught.value.faults]

    return faults_
