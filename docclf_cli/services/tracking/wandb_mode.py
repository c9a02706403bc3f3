"""Choose whether W&B runs online, offline or not at all, once and without a prompt."""

import netrc
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

PROBE_SECONDS = 2.0
KEY_VARIABLES = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
# The default server is a gateway; the keys of `wandb login` may be kept under the name of the server behind it.
DEFAULT_HOST = "api.wandb.ai"
_WORDS: dict[str, Literal["online", "offline", "disabled"]] = {
    "online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled",
}  # fmt: skip


@dataclass(frozen=True)
class Mode:
    """What W&B does, and why; `unwanted` where a key asks for online, and the server does not allow it."""

    name: Literal["online", "offline", "disabled"]
    why: str
    unwanted: bool = False


def resolve_mode(environ: Mapping[str, str], base_url: str) -> Mode:
    """Decide: `WANDB_MODE`, else offline without a key, else what a short probe of the server says.

    Args:
        environ: The environment.
        base_url: The server, as of `server`.
    """
    asked = environ.get("WANDB_MODE", "").lower()
    word = _WORDS.get(asked)
    if word in ("offline", "disabled"):
        return Mode(word, f"WANDB_MODE is {asked}")
    if not has_key(environ, base_url):
        return Mode("offline", "no API key is set")
    if word == "online":
        return Mode(word, f"WANDB_MODE is {asked}")
    if reason := unreachable(base_url):
        return Mode("offline", f"{urlsplit(base_url).hostname} {reason}", unwanted=True)
    return Mode("online", "an API key is set and the server answers")


def server() -> str:
    """The address that wandb writes to, by its own settings files and `WANDB_BASE_URL` (plain `Settings()` reads neither)."""
    import wandb

    return str(wandb.setup().settings.base_url)


def has_key(environ: Mapping[str, str], base_url: str) -> bool:
    """Whether a key for the server is in the environment or in the netrc file, where `wandb login` puts it."""
    if any(environ.get(name) for name in KEY_VARIABLES):
        return True
    listed = [Path(environ["NETRC"])] if environ.get("NETRC") else [Path("~/.netrc"), Path("~/_netrc")]
    hosts = (urlsplit(base_url).netloc, DEFAULT_HOST)
    for path in listed:
        try:
            known = netrc.netrc(path.expanduser()).hosts
        except (OSError, netrc.NetrcParseError, RuntimeError):
            continue
        return any(host in known for host in hosts)
    return False


def unreachable(base_url: str, seconds: float = PROBE_SECONDS) -> str:
    """Why the server cannot be used now, or nothing where it answers; the environment's proxies are used."""
    try:
        # An opener of its own: the shared one remembers the proxies of its first use.
        urllib.request.build_opener().open(base_url, timeout=seconds).close()
    except urllib.error.HTTPError as error:
        error.close()
        return f"answers with an error ({error.code})" if error.code >= 500 else ""
    except TimeoutError:
        return f"does not answer within {seconds:g} s"
    except (OSError, ValueError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        return f"does not answer within {seconds:g} s" if isinstance(reason, TimeoutError) else "cannot be reached"
    except Exception:  # http.client raises its own kinds for an answer that is no HTTP
        return "does not speak HTTP"
    return ""
