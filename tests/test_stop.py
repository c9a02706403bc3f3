"""The first Ctrl-C is answered at once; the second ends the process."""

import os
import signal
import subprocess
import sys

import pytest

from docclf_cli.errors import Interrupted
from docclf_cli.stop import StopFlag


@pytest.mark.parametrize(("saves", "said"), [(True, "after this step and saving;"), (False, "after this step;")])
def test_the_first_signal_is_answered_before_the_work_stops(
    monkeypatch: pytest.MonkeyPatch, saves: bool, said: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr("docclf_cli.stop.logger.info", lambda text, *args: told.append(text % args))
    with pytest.raises(Interrupted), StopFlag(saves=saves).installed() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        assert told == [f"stopping {said} again to leave now"]


def test_the_second_signal_leaves_at_once() -> None:
    code = (
        "import os, signal\nfrom docclf_cli.stop import StopFlag\n"
        "with StopFlag().installed():\n    os.kill(os.getpid(), signal.SIGINT)\n    print('first', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    print('second', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "first\n")
