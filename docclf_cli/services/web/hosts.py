"""Which hosts are this machine."""

from __future__ import annotations

import ipaddress

LOOPBACK = ("127.0.0.1", "::1", "localhost")  # the names that people use
EVERYWHERE = ("0.0.0.0", "::")


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine only: `localhost`, or an address of 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
