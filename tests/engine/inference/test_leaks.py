"""Copies of training pages among pages that a model is judged by."""

import logging
import shutil
from pathlib import Path

import pytest
from tiny import draw_pages

from docclf_cli.data.index.index import load_training_index
from docclf_cli.engine.inference.leaks import say_copies_in_validation
from docclf_cli.profile.schema import DataConfig


def test_copies_in_a_validation_set_of_ones_own_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw_pages(tmp_path / "train", 3)
    (tmp_path / "val" / "form").mkdir(parents=True)
    shutil.copy(tmp_path / "train" / "form" / "form-1.png", tmp_path / "val" / "form" / "scan.png")
    shutil.copy(tmp_path / "train" / "form" / "form-2.png", tmp_path / "val" / "form" / "other.png")
    with (tmp_path / "val" / "form" / "other.png").open("ab") as file:
        file.write(b"other")
    index, own_val = load_training_index(DataConfig(root=str(tmp_path)))
    with caplog.at_level(logging.WARNING, "docclf"):
        say_copies_in_validation(index, own_val)
    assert (
        "1 of 2 validation pages are copies of training pages (such as form/scan.png of form/form-1.png)" in caplog.text
    )
