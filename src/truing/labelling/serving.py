"""An address to listen at, and a server there until somebody ends it."""

import ipaddress
import socket
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvicorn

from truing.core.errors import InputError
from truing.labelling.server import Site
from truing.labelling.store import Store


@dataclass(frozen=True)
class Address:
    """Where the page is."""

    listening: socket.socket
    url: str
    """As browsers have it, without a slash at its end"""

    @property
    def port(self) -> int:
        """That it listens at."""
        return int(self.listening.getsockname()[1])

    @property
    def origins(self) -> set[str]:
        """On this machine, its two names too."""
        parts = urlsplit(self.url)
        if self.url.startswith("https:") or not _is_loopback(parts.hostname or ""):
            return {self.url}
        return {f"http://{name}:{parts.port}" for name in ("127.0.0.1", "localhost", "[::1]")}


def listen(host: str, port: int, url: str | None, has_people: bool) -> Address:
    """Begins to listen; other addresses than those of this machine alone need people and the address that they open.

    Raises:
        InputError: the host is open to others without that, or cannot be listened at.
    """
    if not _is_loopback(host) and (url is None or not has_people):
        what = f"{host} is open to other machines, and a page there wants to know who opens it, and where."
        hint = (
            "Name people with --person, and with --url the https address that they open: TLS belongs in front, by a "
            "proxy such as caddy or nginx. For this machine alone, leave --host out."
        )
        raise InputError(what, code="input/open-host", where="--host", hint=hint)
    opened = _origin(url) if url else None
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        hint = "Choose another with --port; 0 takes any that is free."
        what = f"cannot listen at {host}, port {port}: {error.strerror or error}."
        raise InputError(what, code="input/no-port", where="--port", hint=hint) from error
    name = f"[{host}]" if ":" in host else host
    return Address(listening, opened or f"http://{name}:{listening.getsockname()[1]}")


@dataclass
class Served:
    """The page beside other work of this process, in a thread that nothing waits for."""

    address: Address
    _server: uvicorn.Server | None = None
    _thread: threading.Thread | None = None

    @classmethod
    def at(cls, port: int, url: str | None) -> "Served":
        """To be begun at this port of this machine; without a `url` that a proxy opens, at another where it is taken.

        Raises:
            InputError: it is taken, or `url` is no address of a page.
        """
        try:
            return cls(listen("127.0.0.1", port, url, has_people=True))
        except InputError as error:
            if url is not None or error.code != "input/no-port":
                raise
            return cls(listen("127.0.0.1", 0, None, has_people=True))

    def begin(self, store: Store, guidelines: str) -> None:
        """Answers from here on, if it does not yet."""
        if self._thread is None:
            self._server = server_of(store, guidelines, self.address)
            given = {"sockets": [self.address.listening]}
            self._thread = threading.Thread(target=self._server.run, kwargs=given, name="labels", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Answers no more."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(5)
        self.address.listening.close()


def server_of(store: Store, guidelines: str, address: Address) -> uvicorn.Server:
    """What answers there once it is run, until a signal or `should_exit` ends it."""
    parts = urlsplit(address.url)
    site = Site(store, guidelines, f"truing-label-{parts.port or 443}", parts.scheme == "https")
    config = uvicorn.Config(
        site.app(address.origins),
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,  # links with their tokens would be in it
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(config)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.query:
        hint = "Give it as https://labels.example.org, with a host of its own and no path."
        raise InputError(f"{url} is no address of a page.", code="input/bad-url", where="--url", hint=hint)
    return f"{parts.scheme}://{parts.netloc.lower()}"
