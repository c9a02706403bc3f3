"""From options to a checked profile: the loader checks shape, the registries here check names and parameters."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from docclf_cli.errors import InputError, ProfileError
from docclf_cli.profile.layers import OPTION, SET

if TYPE_CHECKING:
    from docclf_cli.profile.load import LoadedProfile
    from docclf_cli.profile.schema import EnsembleConfig, Profile, RuntimeConfig
    from docclf_cli.registry import Registry
    from docclf_cli.tasks.recipe import Recipe

READING = ("allow_symlinks", "max_pixels", "max_unreadable", "pages")  # keys of `data` that a use of a model may change


def load_checked(name: str, options: Mapping[str, Any], sets: Sequence[str] | None) -> LoadedProfile:
    """Load a profile, with the options that were given laid over it, and check it whole.

    Raises:
        ProfileError: It has faults; all of them are listed.
    """
    from docclf_cli.profile.load import load_profile

    given = {key: value for key, value in options.items() if value is not None}
    loaded = load_profile(name, options=given, sets=sets or (), parameters=_parameters)
    if faults := list(_faults(loaded.profile)):
        raise ProfileError([_placed(loaded, key, text) for key, text in faults])
    return loaded


def load_recipe(name: str, options: Mapping[str, Any], sets: Sequence[str] | None) -> tuple[LoadedProfile, Recipe]:
    """Load the profile of a training, and what it starts from; `auto` becomes a fixed one by looking at the machine.

    Raises:
        InputError: Both `--minutes` and `--epochs` are given.
        ProfileError: As `load_checked`.
    """
    from docclf_cli.tasks.recipe import AUTO, BRIEF, INSTANT, LAPTOP, SCRATCH, Recipe, choose_recipe, own_auto

    loaded = load_checked(name, options, sets)
    given = {key for key, source in loaded.sources.items() if source.kind in (OPTION, SET)}
    if "train.minutes" in given and "train.epochs" in given:
        raise InputError("--minutes chooses the number of epochs, and --epochs gives it", "leave one of them out")
    if name != AUTO or own_auto():
        return _planned_anew(loaded, name, given), Recipe(name, "")
    recipe = choose_recipe(loaded)
    if loaded.profile.train.minutes is None or recipe.profile == SCRATCH:
        return load_checked(recipe.profile, options, sets), recipe
    recipe = replace(recipe, instant=load_checked(INSTANT, options, sets).profile)
    if recipe.profile == LAPTOP:
        brief = load_checked(BRIEF, options, sets).profile
        recipe = replace(recipe, brief=brief, any_size="data.image_size" not in given)
    return load_checked(recipe.profile, options, sets), recipe


def _planned_anew(loaded: LoadedProfile, name: str, given: Container[str]) -> LoadedProfile:
    """A profile without the plan that an earlier run made, where other minutes are asked for now."""
    train = loaded.profile.train
    if train.plan is None or "train.minutes" not in given:
        return loaded
    if load_checked(name, {}, ()).profile.train.minutes == train.minutes:
        return loaded
    profile = loaded.profile.model_copy(update={"train": train.model_copy(update={"plan": None})})
    return replace(loaded, profile=profile)


def given_data(loaded: LoadedProfile) -> dict[str, Any]:
    """The keys of the data section that the user stated, in a profile or on the command line; paths are absolute."""
    from docclf_cli.profile.paths import absolute_data

    section = absolute_data(loaded.profile.data)
    stated = [
        key.removeprefix("data.") for key, source in loaded.sources.items() if key.startswith("data.") and source.rank
    ]
    return {key: getattr(section, key) for key in stated if key in type(section).model_fields}


def settings_of_use(
    sets: Sequence[str] | None, device: str | None, precision: str | None
) -> tuple[RuntimeConfig, dict[str, Any]]:
    """What `--set` can change where a trained model is used: keys of `runtime`, and of `data` those about reading.

    Raises:
        InputError: Another key is set.
        ProfileError: A value is wrong.
    """
    loaded = load_checked("config", {"runtime.device": device, "runtime.precision": precision}, sets)
    reading: dict[str, Any] = {}
    for key, source in loaded.sources.items():
        if source.kind != SET or key.startswith("runtime."):
            continue
        name = key.removeprefix("data.")
        if name not in READING:
            can = ", ".join(("runtime.*", *(f"data.{one}" for one in READING)))
            raise InputError(f"--set {key}: training fixed this value", f"--set can change {can} here")
        reading[name] = getattr(loaded.profile.data, name)
    return loaded.profile.runtime, reading


def _parameters(section: str, name: str) -> Container[str]:
    """The parameters of a loss, an optimizer or a scheduler; none where there is no such name, which is a fault later."""
    from docclf_cli.engine.training.losses import LOSSES
    from docclf_cli.engine.training.optimizers import OPTIMIZERS
    from docclf_cli.engine.training.schedulers import SCHEDULERS

    registries: dict[str, Registry[Any]] = {"loss": LOSSES, "optimizer": OPTIMIZERS, "scheduler": SCHEDULERS}
    known = registries.get(section)
    return () if known is None or name not in known else known.get(name).parameters


def _placed(loaded: LoadedProfile, key: str, text: str) -> str:
    source, place = loaded.sources.get(key), ""
    if source is not None and source.where:
        place = f"{source.where}: "
    return f"{place}{key}: {text}"


def _faults(profile: Profile) -> Iterator[tuple[str, str]]:
    from docclf_cli.data.images.transforms import TRANSFORMS
    from docclf_cli.engine.training.losses import LOSSES
    from docclf_cli.engine.training.optimizers import OPTIMIZERS
    from docclf_cli.engine.training.schedulers import SCHEDULERS

    yield from _block(SCHEDULERS, "scheduler", profile.scheduler.name, profile.scheduler.params)
    yield from _block(OPTIMIZERS, "optimizer", profile.optimizer.name, profile.optimizer.params)
    yield from _block(LOSSES, "loss", profile.loss.name, profile.loss.params)
    for position, transform in enumerate(profile.augmentation.transforms):
        params = {key: value for key, value in transform.params.items() if key != "p"}
        yield from _block(TRANSFORMS, f"augmentation.transforms.{position}", transform.name, params, params_key="")
    # Combiners need scipy, which takes half a second to import.
    if profile.ensemble.method != "averaging" or profile.ensemble.tta.augmentations:
        yield from _ensemble_faults(profile.ensemble)


def _ensemble_faults(ensemble: EnsembleConfig) -> Iterator[tuple[str, str]]:
    from docclf_cli.ensembling.combine import COMBINERS
    from docclf_cli.ensembling.tta import VIEWS

    if ensemble.method != "all":
        yield from _block(COMBINERS, "ensemble", ensemble.method, {}, name_key="method")
    for position, view in enumerate(ensemble.tta.augmentations or ()):
        place = f"ensemble.tta.augmentations.{position}"
        yield from _block(VIEWS, place, view.type, view.params, name_key="type", params_key="")


def _block(
    registry: Registry[Any],
    key: str,
    name: str,
    params: Mapping[str, Any],
    name_key: str = "name",
    params_key: str = "params",
) -> Iterator[tuple[str, str]]:
    try:
        entry = registry.get(name)
    except InputError as error:
        yield f"{key}.{name_key}", f"{error.message} ({error.hint})"
        return
    for param, text in entry.faults(params):
        yield ".".join(part for part in (key, params_key, param) if part), text
