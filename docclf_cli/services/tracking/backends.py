"""The experiment trackers that `tracking.backend` can name."""

from collections.abc import Callable, Mapping

from docclf_cli.profile.schema import TrackingConfig
from docclf_cli.registry import Registry
from docclf_cli.services.tracking.tracker import NoTracker, Tracker
from docclf_cli.services.tracking.wandb_tracker import WandbTracker

TRACKERS: Registry[Callable[[TrackingConfig, Mapping[str, str]], Tracker]] = Registry("tracker")


@TRACKERS.register("none")
def none(config: TrackingConfig, environ: Mapping[str, str]) -> Tracker:
    """No tracker."""
    return NoTracker()


@TRACKERS.register("wandb")
def wandb(config: TrackingConfig, environ: Mapping[str, str]) -> Tracker:
    """Weights & Biases."""
    return NoTracker() if environ.get("WANDB_MODE", "").lower() == "disabled" else WandbTracker(config, environ)


def create_tracker(config: TrackingConfig, environ: Mapping[str, str]) -> Tracker:
    """The tracker of a profile.

    Args:
        config: The tracking section.
        environ: The process's whole environment, `.env` included.

    Raises:
        InputError: `tracking.backend` is unknown.
    """
    tracker: Tracker = TRACKERS.create(config.backend, config, environ)
    return tracker
