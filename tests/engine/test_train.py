"""What a whole run leaves besides what its commands show."""

import csv
import json
from pathlib import Path

import pytest
from tiny import draw_pages, no_plots, tiny_profile

from docclf_cli.engine.checkpoint import Checkpoint
from docclf_cli.engine.events import Event, StepDone
from docclf_cli.engine.origin import profile_differences, stored_profile
from docclf_cli.engine.run_folder import RunFolder
from docclf_cli.engine.runtime import StopFlag
from docclf_cli.engine.train import train
from docclf_cli.errors import Interrupted

__all__ = ["no_plots"]
pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 10)


def test_going_on_keeps_the_timings_of_before(pages: Path, tmp_path: Path) -> None:
    stop, run = StopFlag(), RunFolder(tmp_path / "runs" / "cut")

    def stop_after(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 7:
            stop.signal_number = 15

    with pytest.raises(Interrupted):
        train(tiny_profile(pages, tmp_path / "runs", name="cut"), emit=stop_after, stop=stop)
    before = run.timings.read_text()
    train(tiny_profile(pages, tmp_path / "runs"), resume=run.path)
    assert run.timings.read_text().startswith(before)
    with run.timings.open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_a_refit_trains_on_all_pages_for_the_chosen_epochs(pages: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def count(event: Event) -> None:
        if isinstance(event, StepDone):
            seen.append(event.step)

    result = train(tiny_profile(pages, tmp_path / "runs", name="r", train__refit=True), emit=count)
    final = Checkpoint.load(tmp_path / "runs" / "r" / "refit.ckpt")
    assert final.epoch == result.best_epoch
    assert final.temperature == result.temperature
    assert seen[-1] == result.best_epoch * (30 // 4)  # 30 pages are 7 whole batches of four; validated, 18 were 4


def test_a_run_keeps_absolute_paths_beside_what_was_typed(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pages.parent)
    rows = [path.relative_to(pages).as_posix() for path in pages.glob("*/*")]
    (pages.parent / "groups.csv").write_text("ID,group\n" + "".join(f"{name},g{name}\n" for name in rows))
    typed = {"data__root": pages.name, "data__groups": "groups.csv", "train__epochs": 1}
    train(tiny_profile(pages, tmp_path / "runs", name="r", **typed))
    run = RunFolder(tmp_path / "runs" / "r")
    stored = stored_profile(run).data
    assert (stored.root, stored.groups) == (str(pages), str(pages.parent / "groups.csv"))
    assert Checkpoint.load(run.best).profile["data"]["root"] == str(pages)
    assert json.loads(run.origin.read_text())["typed"][str(pages)] == pages.name
    # The same profile as it was typed is that of the run.
    assert profile_differences(tiny_profile(pages, tmp_path / "runs", **typed), run) == []
