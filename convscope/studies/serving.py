"""Serves a study's live page on this machine alone. Starlette and uvicorn are imported only here.

Nothing in the folder is written, and of a request's path only fixed names are looked up: none of it
becomes part of a file's path. Whoever does not know the random token in the address sees nothing,
and a page of another host, whose name leads here, neither.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from pathlib import Path

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from convscope.errors import UserError
from convscope.studies.following import Follower, as_text

HOST = "127.0.0.1"

LOOK_EVERY, ALIVE_EVERY = 0.5, 15.0  # seconds between looks at the folder, between signs of life

PARTS = {"": "text/html", "live.js": "text/javascript", "live.css": "text/css"}

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
POLICY += "frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Answer = Callable[[Request], Awaitable[Response]]


def bound(port: int) -> socket.socket:
    """A socket of this machine's own address. Raises UserError where the port is in use.

    port: 0 takes one that is free.
    """
    if not 0 <= port <= 65_535:
        raise UserError(f"port = {port}: from 0 to 65,535")
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((HOST, port))
        made.listen()
    except OSError as error:
        made.close()
        busy = "in use by another program" if error.errno == errno.EADDRINUSE else error.strerror
        raise UserError(f"port = {port}: {busy}; --port 0 takes one that is free") from None
    return made


def serve(root: Path, port: int, tell: Callable[[str], None]) -> None:
    """Serve the live page of a study until Ctrl-C.

    root: the study's folder.
    port: 0 takes one that is free.
    tell: is told the address.
    """
    place = bound(port)
    number, token = place.getsockname()[1], secrets.token_urlsafe(24)
    server: list[uvicorn.Server] = []
    made = application(root, token, number, lambda: bool(server and server[0].should_exit))
    config = uvicorn.Config(
        made, log_level="critical", access_log=False, timeout_graceful_shutdown=1, lifespan="off"
    )
    server.append(uvicorn.Server(config))
    tell(f"http://{HOST}:{number}/{token}/")
    with contextlib.suppress(KeyboardInterrupt), place:
        server[0].run(sockets=[place])


def application(root: Path, token: str, port: int, ends: Callable[[], bool]) -> Starlette:
    """The application.

    root: the study's folder; token: what an address must hold; port: at which it is served.
    ends: whether streams have to end.
    """
    hosts = {f"{name}:{port}" for name in (HOST, "localhost")}

    def guarded(answer: Answer) -> Answer:
        async def checked(request: Request) -> Response:
            if request.headers.get("host", "") not in hosts:
                return PlainTextResponse("wrong host", 421, HEADERS)
            given = request.path_params.get("token", "")
            if not secrets.compare_digest(given.encode(), token.encode()):
                return PlainTextResponse("not found", 404, HEADERS)
            return await answer(request)

        return checked

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "")
        if name not in PARTS:
            return PlainTextResponse("not found", 404, HEADERS)
        file = {"": "live_page.html", "live.js": "live_page.js", "live.css": "live_page.css"}[name]
        content = (files("convscope.studies") / file).read_text(encoding="utf-8")
        headers = {**HEADERS, "Content-Security-Policy": POLICY}
        return Response(content, 200, headers, media_type=PARTS[name])

    async def report(_: Request) -> Response:
        path = root / "report.html"
        if not path.is_file():
            return PlainTextResponse("the report is not there yet", 404, HEADERS)
        return FileResponse(path, headers=HEADERS, media_type="text/html")

    async def events(_: Request) -> Response:
        return StreamingResponse(stream(root, ends), 200, HEADERS, media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/{token}/events", guarded(events), methods=["GET"]),
            Route("/{token}/report.html", guarded(report), methods=["GET"]),
            Route("/{token}/", guarded(page), methods=["GET"]),
            Route("/{token}/{name}", guarded(page), methods=["GET"]),
            Route("/{rest:path}", guarded(page), methods=["GET"]),
        ]
    )


async def stream(root: Path, ends: Callable[[], bool]) -> AsyncIterator[str]:
    """Events as they come; first all that is there."""
    follower, last = Follower(root), time.monotonic()
    yield "retry: 1000\nevent: hello\ndata: {}\n\n"
    while not ends():
        for event in await run_in_threadpool(lambda: list(follower.news())):
            last = time.monotonic()
            yield as_text(event)
        if time.monotonic() - last > ALIVE_EVERY:
            last = time.monotonic()
            yield ": alive\n\n"
        await anyio.sleep(LOOK_EVERY)
