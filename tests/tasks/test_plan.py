"""What `train.minutes` makes of a time: by speeds that are given, and once by a measurement."""

import time
from pathlib import Path

import pytest
from tiny import draw_pages, tiny_profile

from docclf_cli.commands._load import load_checked, load_recipe
from docclf_cli.data.index.index import load_training_index
from docclf_cli.engine.training.pace import MOST_EPOCHS
from docclf_cli.errors import InputError
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile
from docclf_cli.tasks import plan
from docclf_cli.tasks.caveats import caveats
from docclf_cli.tasks.plan import ENOUGH_EPOCHS, Load, Speed, choose, fit_to_minutes, measure_speed
from docclf_cli.tasks.recipe import BRIEF, INSTANT, LAPTOP, Recipe

TWO_CORES = Speed(read=0.01, augment=0.005, train=0.03, score=0.01)
LOAD = Load(train=390, val=98, all=488, fits=1)


def laptop(minutes: float, *, any_size: bool = True, shorter: bool = True) -> tuple[Profile, Recipe]:
    given: dict[str, object] = {"train.minutes": minutes}
    if not any_size:
        given["data.image_size"] = 224
    laptop, brief, instant = (load_profile(name, options=given).profile for name in ("laptop", "brief", "instant"))
    return laptop, Recipe(LAPTOP, "no GPU", brief, instant, any_size) if shorter else Recipe(LAPTOP, "")


def chosen(minutes: float, load: Load = LOAD, speed: Speed = TWO_CORES, **options: bool) -> tuple[Profile, Recipe]:
    return choose(*laptop(minutes, **options), speed, load, 60 * minutes - 5)


def test_little_time_is_for_a_probe_and_more_of_it_for_more_views() -> None:
    views = []
    for minutes in (0.5, 0.8):
        profile, recipe = chosen(minutes)
        assert (recipe.profile, profile.train.epochs) == (INSTANT, 1)
        assert isinstance(profile.train.linear_probe, int)
        views.append(profile.train.linear_probe)
        assert profile.train.plan is not None
        assert f"a linear probe of {views[-1]} view" in profile.train.plan
    assert views[0] < views[1]


def test_more_time_is_for_more_epochs_then_for_more_pixels_and_has_an_end() -> None:
    ways = [chosen(minutes) for minutes in (2, 3, 5, 9, 12, 25, 2000)]
    assert [recipe.profile for _, recipe in ways] == [*[BRIEF] * 3, *[LAPTOP] * 4]
    found = [profile for profile, _ in ways]
    assert [profile.train.linear_probe for profile in found] == [*["auto"] * 3, *[None] * 4]
    epochs = [profile.train.epochs for profile in found]
    sizes = [profile.data.image_size for profile in found]
    assert sizes == [160, 160, 224, 224, 224, 320, 320]
    assert epochs[0] < epochs[1]
    assert min(epochs[3:]) >= ENOUGH_EPOCHS
    assert epochs[-1] == MOST_EPOCHS
    assert all(profile.train.minutes for profile in found)  # the fit keeps the time


def test_the_time_of_a_plan_is_the_time_given() -> None:
    profile, _ = chosen(8, any_size=False)
    assert profile.data.image_size == 224
    each = LOAD.train * (TWO_CORES.train + TWO_CORES.augment) + 2 * LOAD.val * TWO_CORES.score
    before_and_after = LOAD.all * TWO_CORES.read + 5 + plan.END_SECONDS + plan.after_epochs(profile, TWO_CORES, LOAD)
    assert 480 - each < before_and_after + LOAD.val * 0.005 + profile.train.epochs * each <= 480


def test_a_copy_that_teaches_which_side_is_up_takes_more_than_its_forward_pass() -> None:
    profile, _ = chosen(8, any_size=False)
    seconds = [
        plan.after_epochs(
            profile.model_copy(update={"train": profile.train.model_copy(update={"upright": copies})}), TWO_CORES, LOAD
        )
        for copies in (2, 3)
    ]
    assert seconds[1] - seconds[0] > 1.5 * LOAD.train * TWO_CORES.score


def test_the_time_of_a_brief_plan_is_the_time_given() -> None:
    profile, _ = chosen(3, any_size=False)
    train, augment, score = TWO_CORES.train * plan.FROZEN, TWO_CORES.augment, TWO_CORES.score
    validation = 2 * LOAD.val * score
    each = LOAD.train * (train + augment) + validation
    before_and_after = LOAD.all * TWO_CORES.read + 5 + plan.END_SECONDS + plan.after_epochs(profile, TWO_CORES, LOAD)
    probe = 2 * LOAD.train * (score + augment) + validation + plan.PROBE_SECONDS
    total = before_and_after + LOAD.val * augment + probe + (profile.train.epochs - 1) * each
    assert 180 - each < total <= 180


def test_few_pages_get_more_epochs_before_they_get_more_pixels() -> None:
    many, few = chosen(8)[0], chosen(8 * 39 / 390, Load(39, 10, 49, 1))[0]
    assert many.data.image_size == 224
    assert few.data.image_size == 160
    assert few.train.epochs > many.train.epochs


def test_folds_share_the_time() -> None:
    folds = chosen(12, Load(390, 98, 488, 5), shorter=False)[0]
    alone = chosen(12, shorter=False)[0]
    assert folds.train.epochs <= alone.train.epochs / 5


def test_a_refit_has_its_share_of_the_time() -> None:
    refit = chosen(24, Load(390, 98, 488, 1 + 488 / 390), any_size=False)[0]
    alone = chosen(24, any_size=False)[0]
    assert 0.3 < refit.train.epochs / alone.train.epochs < 488 / 878


def test_two_processes_do_twice_as_much() -> None:
    two = chosen(9, Load(390, 98, 488, 1, processes=2), any_size=False)[0]
    alone = chosen(9, any_size=False)[0]
    assert 1.8 < two.train.epochs / alone.train.epochs <= 2.1


def test_what_was_asked_for_stays() -> None:
    assert chosen(25, any_size=False)[0].data.image_size == 224
    assert chosen(3, any_size=False)[0].data.image_size == 224
    profile, recipe = chosen(0.5, shorter=False)
    assert (recipe.profile, profile.train.epochs, profile.train.linear_probe) == (LAPTOP, 1, None)


def test_pages_that_cannot_be_read_in_time_are_said(caplog: pytest.LogCaptureFixture) -> None:
    chosen(0.5, Load(80_000, 20_000, 100_000, 1))
    assert "reading 100000 pages takes about 1000 s" in caplog.text


def test_minutes_and_epochs_contradict_each_other() -> None:
    with pytest.raises(InputError, match="--minutes chooses the number of epochs"):
        load_recipe("auto", {"train.minutes": 3.0, "train.epochs": 4}, ())


def test_a_profile_of_ones_own_keeps_everything_but_its_epochs(tmp_path: Path) -> None:
    loaded, recipe = load_recipe("config", {"train.minutes": 60.0}, ())
    assert (recipe.brief, recipe.instant, recipe.any_size) == (None, None, False)
    profile, _ = choose(loaded.profile, recipe, TWO_CORES, LOAD, 3600)
    assert profile.data == loaded.profile.data
    assert profile.train.epochs > 30


def test_the_machine_is_measured(tmp_path: Path) -> None:
    root = draw_pages(tmp_path / "data", 4)
    profile = tiny_profile(root, tmp_path / "runs", train__minutes=0.2)
    index, _ = load_training_index(profile.data)
    began = time.monotonic()
    speed = measure_speed(profile, index)
    assert all(0 < seconds < 5 for seconds in (speed.read, speed.train, speed.score))
    fitted, _ = fit_to_minutes(profile, Recipe("", ""), index, Load(8, 4, 12, 1), began)
    assert fitted.train.plan is not None
    assert "fitted to 0.2 minutes (reading " in fitted.train.plan
    assert load_checked("instant", {"train.minutes": 1.0}, ()).profile.train.plan is None


def test_no_page_chooses_the_epoch_of_a_probe() -> None:
    monitor = load_profile("instant").profile.train.monitor
    (note,) = caveats("val", monitor=monitor, folds=False, temperature=1.0)
    assert note.startswith("These pages chose no epoch")


def test_pages_that_chose_by_log_loss_are_not_called_a_point_too_good() -> None:
    assert [load_profile(name).profile.train.monitor for name in (LAPTOP, "brief")] == ["blend_loss", "blend_loss"]
    (note,) = caveats("val", monitor="blend_loss", folds=False, temperature=1.0)
    assert note.startswith("These pages chose the best epoch (by mean of clean and degraded log loss)")
    assert "one point" not in note
    (note,) = caveats("val", monitor="blend", folds=False, temperature=1.0)
    assert "by about one point" in note
