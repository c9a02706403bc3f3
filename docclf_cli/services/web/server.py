"""Runs a web app on a port of this machine until it is told to stop."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import socket
import threading
import time
from collections.abc import Callable

from docclf_cli.errors import InputError, ResourceError
from docclf_cli.services.web.hosts import EVERYWHERE, LOOPBACK, is_loopback
from docclf_cli.services.web.security import App

WEB_PACKAGES = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "python-multipart": "python_multipart",
    "prometheus-client": "prometheus_client",
}
_STARTING = 30.0
logger = logging.getLogger("docclf")


def require_web() -> None:
    """Raise an `InputError` that says what to install where the packages of the extra `web` are missing.

    Raises:
        InputError: One is missing.
    """
    for package, module in WEB_PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise InputError(f"the package {package} of the extra 'web' is not installed", "pip install 'docclf[web]'")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        InputError: This machine has no such address.
        ResourceError: The port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InputError(f"--host {host}: {error.strerror}", "127.0.0.1, or 0.0.0.0 for all networks") from error
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise ResourceError(f"{host}:{port}: {error.strerror}", "choose another --port") from error
    return opened


def address_of(host: str, port: int) -> tuple[str, frozenset[str]]:
    """The name to show for a server, and all values of `Host` that mean it.

    Args:
        host: What it listens on.
        port: Its port.
    """
    names = {host, *LOOPBACK} if host in (*LOOPBACK, *EVERYWHERE) else {host}
    shown = host
    if host in EVERYWHERE:
        shown = _own_address()
        names |= {shown, socket.gethostname()}
    return _bracketed(shown), frozenset(f"{_bracketed(name)}:{port}" for name in names)


def warn_if_open(host: str) -> None:
    """Say that a link that others can reach is not encrypted."""
    if not is_loopback(host):
        logger.warning(
            "--host %s: others on this network can reach the page, and the link is not encrypted: whoever can read the network "
            "can read the pages. On a network you do not control, leave --host out and use an SSH tunnel",
            host,
        )


def serve(app: App, opened: socket.socket, until: Callable[[], bool]) -> None:
    """Answer requests in a thread of its own until `until()` is true.

    Raises:
        ResourceError: The server did not start.
    """
    import uvicorn

    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    started = time.monotonic()
    while not server.started:
        if not thread.is_alive() or time.monotonic() - started > _STARTING:
            raise ResourceError("the web server did not start", "start the command again")
        time.sleep(0.01)
    try:
        while thread.is_alive() and not until():
            time.sleep(0.05)
    finally:
        server.should_exit = True
        thread.join(timeout=5)
        with contextlib.suppress(OSError):
            opened.close()


def _own_address() -> str:
    """The address that others see of this machine; nothing is sent to find it out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1 (RFC 5737): reserved, and never reached
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
