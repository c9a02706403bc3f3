"""The upload that follows training where a bucket is configured."""

import logging
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from docclf_cli.display.progress import progress_display
from docclf_cli.errors import DocclfError, Interrupted
from docclf_cli.results.training import TrainResult

if TYPE_CHECKING:
    from docclf_cli.profile.schema import S3Config
    from docclf_cli.results.storage import PushResult

logger = logging.getLogger("docclf")


def push_finished(result: TrainResult, config: "S3Config", quiet: bool) -> TrainResult:
    """Push a finished run if a bucket is configured and `s3.auto_push` is on; what goes wrong is a warning.

    Returns:
        The result, with where the run was pushed.

    Raises:
        Interrupted: It was stopped, and a script that was told to stop must not go on.
    """
    from docclf_cli.services.storage.s3 import configured_bucket

    if not config.auto_push or configured_bucket(config) is None:
        return result
    try:
        pushed = _push(result, config, quiet)
    except Interrupted as stopped:
        message = f"the run in {result.run} is finished, but its push was stopped"
        raise Interrupted(message, f"to push it: {_command(result)}", signal_number=stopped.signal_number) from stopped
    except DocclfError as error:
        return _not_pushed(result, f"{error.message} ({error.hint})" if error.hint else error.message)
    except Exception as error:  # the run is finished, and a bug here does not change that
        return _not_pushed(result, f"{type(error).__name__}: {error}")
    return replace(result, pushed=pushed.manifest)


def _push(result: TrainResult, config: "S3Config", quiet: bool) -> "PushResult":
    from docclf_cli.services.storage.push import push
    from docclf_cli.services.storage.s3 import resolve_target
    from docclf_cli.stop import StopFlag

    target = resolve_target(config)
    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        return push([result.run], target, emit=emit, stop=stop)


def _not_pushed(result: TrainResult, why: str) -> TrainResult:
    logger.warning("the run is finished, but was not pushed: %s; to push it: %s", why, _command(result))
    return result


def _command(result: TrainResult) -> str:
    """What pushes a run; the profile in its folder knows the bucket, the prefix and the endpoint."""
    return shlex.join(["docclf", "s3-push", str(result.run), "--profile", str(result.run / "profile.yaml")])
