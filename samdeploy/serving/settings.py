"""What can be asked of the server: where it listens, who may use it, and its limits."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from samdeploy.errors import InputError
from samdeploy.limits import number, whole
from samdeploy.options import option
from samdeploy.text import shown

#: Least and most of every setting that counts something.
_COUNTS = {
    "port": (0, 65535),
    "max_mb": (1, 1024),
    "max_pixels": (2, 2**31),
    "max_prompts": (1, 10_000),
    "max_points": (1, 10**7),
    "max_crops": (1, 10**4),
    "queue": (1, 10_000),
    "cache_mb": (0, 2**20),
}


@dataclass(frozen=True)
class ServerSettings:
    """Settings of :func:`samdeploy.serving.run.serve`; their meaning is their ``help``.

    Raises:
        InputError: a value that cannot be.
    """

    host: str = option("127.0.0.1", help="address to listen on; any but this machine's: a token")
    port: int = option(8000, help="port to listen on; 0 takes a free one")
    token: str | None = option(None, help="what clients have to send")
    hosts: tuple[str, ...] = option((), help="further names of this machine that clients use")
    origins: tuple[str, ...] = option((), help="web pages that may call, as https://example.org")
    label_studio: str | None = option(None, help="URL of the Label Studio whose images are fetched")
    label_studio_token: str | None = option(None, help="access token of a Label Studio user")
    max_mb: int = option(32, help="largest request in MB")
    max_pixels: int = option(50_000_000, help="largest image in pixels")
    max_prompts: int = option(256, help="most prompts of a request, and most points of a prompt")
    max_points: int = option(4096, help="most points of a whole image")
    max_crops: int = option(21, help="most crops of a whole image, each of which is encoded")
    queue: int = option(16, help="requests that wait for a model before others are sent away")
    cache_mb: int = option(512, help="memory for images that are encoded, in MB")
    body_seconds: float = option(30.0, help="time that a request may take to arrive")

    def __post_init__(self) -> None:
        for name, limits in _COUNTS.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), *limits))
        seconds = number("body_seconds", self.body_seconds, 0.1, 3600)
        object.__setattr__(self, "body_seconds", seconds)
        if self.token is not None:
            _check_token(self.token)
        for origin in self.origins:
            _check_origin(origin)
        if self.label_studio is not None:
            _check_url(self.label_studio)
        elif self.label_studio_token is not None:
            raise InputError("label_studio_token came without label_studio; give its URL.")

    @property
    def max_bytes(self) -> int:
        """Of the body of a request."""
        return self.max_mb * 1_000_000

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_token(token: str) -> None:
    if not token.strip():
        raise InputError("token is empty; expected a secret, or leave it out.")
    if token != token.strip() or not token.isprintable():
        raise InputError(
            "token has a blank at an end or a character that is not printable, which no header "
            "brings; expected a secret without."
        )


def _check_origin(origin: str) -> None:
    try:
        parts = urlsplit(origin)
        usable = parts.scheme in ("http", "https") and parts.netloc and not parts.path.strip("/")
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"origins={shown(origin)}; expected pages such as https://example.org.")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            f"label_studio={shown(url)}; expected the URL of a Label Studio, such as "
            "http://localhost:8080."
        )
