"""Pages that the commands' tests share."""

from pathlib import Path

import pytest

from docclf_cli.data.samples.samples import render_samples


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and two test pages of each sample class."""
    return render_samples(tmp_path_factory.mktemp("pages") / "data", pages_per_class=6, test_pages_per_class=2)


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Options of `train` that make it quick."""
    return (
        "--profile", "config", "--model", "test_resnet", "--no-pretrained", "--image-size", "48", "--batch-size", "8", "--augmentation", "light",
    )  # fmt: skip
