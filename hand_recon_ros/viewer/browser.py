"""The server of the scene: browsers get the newest frame, and slow ones hold up nothing."""

from __future__ import annotations

import contextlib
import errno
import io
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import viser

from ..conversions.mailbox import Mailbox
from .frames import ViewedFrame, ViewError
from .scene import HandScene

LABEL = "hand_recon"
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class Scene(Protocol):
    """What draws frames."""

    def show(self, frame: ViewedFrame) -> None: ...

    def say(self, texts: Sequence[str]) -> None: ...


class Browser:
    """Serves the scene from a thread of its own; a context manager.

    ``show`` only stores the frame: a thread draws the newest one, at most ``rate`` times a second, and the server sends
    to each browser what has changed since it was last ready for more.

    Args:
        host: address to listen on: the loopback, or 0.0.0.0 for the network.
        port: to listen on; 0 takes a free one.
        rate: highest rate of drawing, Hz.
        make_scene: draws on the server.

    Attributes:
        drawn: how many frames were drawn.

    Raises ViewError where it cannot listen there.
    """

    def __init__(
        self, host: str, port: int, rate: float, make_scene: Callable[[viser.ViserServer], Scene] = HandScene
    ) -> None:
        self.server = _start(host, port)
        self._host, self._period = host, 1.0 / rate
        self._scene = make_scene(self.server)
        self._frames: Mailbox[ViewedFrame] = Mailbox()
        self._texts: list[str] = []
        self._failure: Exception | None = None
        self._ending = threading.Event()
        self._opened = threading.Event()
        self.server.on_client_connect(lambda _: self._opened.set())
        self.drawn = 0
        self._thread = threading.Thread(target=self._draw, name="drawing", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    @property
    def url(self) -> str:
        """What to open in a browser."""
        name = socket.gethostname() if self._host in ("0.0.0.0", "::", "") else self._host
        return f"http://{f'[{name}]' if ':' in name else name}:{self.server.get_port()}"

    @property
    def watched(self) -> bool:
        """Whether a browser shows the scene."""
        return bool(self.server.get_clients())

    def wait_for_browser(self, stop: threading.Event) -> None:
        """Wait until a browser has been opened, or ``stop`` is set."""
        while not stop.is_set() and not self._opened.wait(0.1):
            pass

    def show(self, frame: ViewedFrame) -> None:
        """Let the frame be drawn, in place of one that waits."""
        self._frames.put(frame)

    def check(self) -> None:
        """Raise what ended the drawing, where that has ended."""
        if self._failure is not None:
            raise self._failure

    def say(self, texts: Sequence[str]) -> None:
        """Show what is wrong at present, a paragraph each."""
        if list(texts) != self._texts:
            self._texts = list(texts)
            self._scene.say(self._texts)

    def _draw(self) -> None:
        while not self._frames.closed:
            frame = self._frames.take()
            if frame is None:
                continue
            begin = time.monotonic()
            try:
                self._scene.show(frame)
            except Exception as error:  # raised again by `check`, on the thread that can end the program
                self._failure = error
                return
            self.drawn += 1
            self._ending.wait(max(0.0, self._period - (time.monotonic() - begin)))

    def close(self) -> None:
        """End the drawing and the server."""
        self._frames.close()
        self._ending.set()
        self._thread.join(5.0)
        with _quiet():
            self.server.stop()


class _Server(viser.ViserServer):
    """A server that never opens a tunnel to the internet, as viser does when a browser asks for it."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        return None


def _start(host: str, port: int) -> viser.ViserServer:
    """A server that listens on this address and no other. Raises ViewError."""
    _check_address(host, port)
    with _quiet():
        server = _Server(host, port, label=LABEL, verbose=False)
    if port and server.get_port() != port:  # taken in the meantime: viser tries the next ones
        with _quiet():
            server.stop()
        raise ViewError(_taken(host, port))
    _refuse_other_pages(server, host)
    server.gui.configure_theme(show_share_button=False, show_logo=False)
    return server


def _check_address(host: str, port: int) -> None:
    """Raise ViewError where nothing can listen there; viser would try other ports for ever."""
    if not 0 <= port < 65536:
        raise ViewError(f"there is no port {port}, expected one below 65536")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            trial.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ViewError(_taken(host, port)) from error
        raise ViewError(f"cannot listen on {host}: {error.strerror or error}") from error


def _taken(host: str, port: int) -> str:
    return f"port {port} of {host} is in use: name another one with --port"


def _refuse_other_pages(server: viser.ViserServer, host: str) -> None:
    """Refuse connections from web pages of other sites, which a browser lets connect to the loopback as well.

    On the loopback the page must also have been opened by one of its names: a site can let its own name point there.
    viser has no public access to the headers of a connection, so that this depends on its version.
    """
    connections, local = server._websock_server, _is_loopback(host)

    async def check(client: Any) -> None:
        connection = connections._live_connections[client.client_id]
        assert connection.request is not None  # it has come
        hosts, origins = (connection.request.headers.get_all(name) for name in ("Host", "Origin"))
        foreign = len(hosts) != 1 or any(urlsplit(origin).netloc != hosts[0] for origin in origins)
        if foreign or (local and urlsplit(f"//{hosts[0]}").hostname not in (host, *_LOCAL_NAMES)):
            await connection.close(1008, "opened by a page of another site")

    connections.on_client_connect(check)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _quiet() -> contextlib.AbstractContextManager[Any]:
    """Keep what viser prints off stdout, which is for JSON."""
    return contextlib.redirect_stdout(io.StringIO())
