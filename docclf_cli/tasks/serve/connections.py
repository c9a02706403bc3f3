"""How a connection of a client is held: for a bounded time, however slowly it sends."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from docclf_cli.tasks.serve.app import create_app
from docclf_cli.tasks.serve.service import Service


def http_config(service: Service, stop_after: float = 30.0) -> uvicorn.Config:
    """How the HTTP server answers for a service.

    Args:
        service: What requests are answered from.
        stop_after: Longest seconds that accepted requests may take after the server was told to stop.
    """
    return uvicorn.Config(
        create_app(service),
        http=_cut_off_after(service.limits.seconds),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(stop_after),
        h11_max_incomplete_event_size=32 * 1024,
    )


def _cut_off_after(seconds: float) -> type[H11Protocol]:
    """Connections that end where a client lets the server wait for longer.

    uvicorn closes a connection that is idle, and `serve` answers a request that takes too long; between the two are clients
    that never end their headers, or go on to send a request that was answered already.
    """

    class Connection(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._late = self.loop.call_later(seconds, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._in_time()
            elif self._late is None:
                self._late = self.loop.call_later(seconds, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._in_time()
            super().connection_lost(exc)

        def _in_time(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Connection
