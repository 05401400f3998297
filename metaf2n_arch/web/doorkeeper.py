"""Request filter of the web page: refuses requests under unknown host names, from other pages, or that are too large.

A web page of an attacker can make a browser send requests to a local server (cross-site requests). With DNS rebinding
the server gets a host name of the attacker, whose page can then also read the answers. The header ``Origin`` reveals
the first, the header ``Host`` the second.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from pathlib import Path
from typing import Any

from metaf2n_arch.web.keeping import forget_old, size_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; base-uri 'self'; "
    "form-action 'self'"
)
"""Content-Security-Policy: browsers load nothing from other servers, and show the page inside no other page."""
LARGEST_MESSAGE = 1_000_000
"""Largest request that is not an upload, in bytes."""
_FRAME = 10_000  # bytes that the form around an uploaded file may take


class Doorkeeper:
    """ASGI middleware that filters the requests to the page.

    Args:
        app: the page.
        hosts: host names under which the page is served, besides ``localhost`` and IP addresses.
        place: folder of all uploads and results.
        max_file: largest upload, in bytes.
        max_total: largest size of all uploads and results together, in bytes.
    """

    def __init__(self, app: App, hosts: Collection[str], place: Path, max_file: int, max_total: int) -> None:
        self.app, self.place = app, place
        self.hosts = {'localhost', *(host.lower().strip('[]') for host in hosts)}
        self.max_file, self.max_total = max_file, max_total

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] not in ('http', 'websocket'):
            await self.app(scope, receive, send)
            return
        headers = {name.decode('latin-1').lower(): value.decode('latin-1') for name, value in scope['headers']}
        refusal = self.stranger(headers)
        if refusal is None and scope['type'] == 'http':
            refusal = self.too_large(scope['method'], scope['path'], headers)
        if refusal is None:
            await self.app(scope, receive, _guarded(send))
        elif scope['type'] == 'websocket':
            await send({'type': 'websocket.close', 'code': 1008})
        else:
            await _refuse(send, *refusal)

    def stranger(self, headers: MutableMapping[str, str]) -> tuple[int, str] | None:
        """Status and text of the refusal of a request under an unknown host name or from another page; else None."""
        host = headers.get('host', '')
        if not self.knows(host):
            return 403, f'This page is not served under the name {host[:80]!r}; start it with --allow-host NAME.'
        origin = headers.get('origin')
        if origin is not None and origin.partition('://')[2].lower() != host.lower():
            return 403, f'Requests from other pages ({origin[:80]!r}) are refused.'
        return None

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` header has an IP address or one of this page's names.

        >>> keeper = Doorkeeper(None, ['photos.lan'], Path(), 1, 1)
        >>> [keeper.knows(h) for h in ('localhost:7860', '[::1]:7860', '192.168.1.2', 'photos.lan', 'evil.example')]
        [True, True, True, True, False]
        """
        name = host.rpartition(']')[0].lstrip('[') if host.startswith('[') else host.partition(':')[0]
        if name.lower() in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def too_large(self, method: str, path: str, headers: MutableMapping[str, str]) -> tuple[int, str] | None:
        """Status and text of the refusal of a request that is too large or does not give its length; else None."""
        if method in ('GET', 'HEAD', 'OPTIONS'):
            return None
        length = headers.get('content-length', '')
        if not length.isdecimal():
            return (411, 'A request must give its length (Content-Length).') if 'transfer-encoding' in headers else None
        if not path.rstrip('/').endswith('/upload'):
            most = LARGEST_MESSAGE
            return None if int(length) <= most else (413, f'A request may have at most {most / 1e6:g} MB.')
        if int(length) > self.max_file + _FRAME:
            return 413, f'An upload may have at most {self.max_file / 1e6:g} MB.'
        forget_old(self.place)
        if size_of(self.place) + int(length) > self.max_total:
            kept = f'at most {self.max_total / 1e6:g} MB of uploads and results are kept'
            return 413, f'{kept}; press Clear to delete yours, or try again later.'
        return None


def _guarded(send: Send) -> Send:
    async def with_policy(message: MutableMapping[str, Any]) -> None:
        if message['type'] == 'http.response.start':
            more = (b'content-security-policy', POLICY.encode()), (b'referrer-policy', b'no-referrer')
            message = {**message, 'headers': [*message.get('headers', ()), *more]}
        await send(message)

    return with_policy


async def _refuse(send: Send, status: int, text: str) -> None:
    body = f'{text}\n'.encode()
    headers = [(b'content-type', b'text/plain; charset=utf-8'), (b'content-length', str(len(body)).encode())]
    await send({'type': 'http.response.start', 'status': status, 'headers': [*headers, (b'connection', b'close')]})
    await send({'type': 'http.response.body', 'body': body})
