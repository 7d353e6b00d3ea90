"""Where webhooks may go: by https, to addresses of the open Internet, not into the network we stand in. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

URL_LENGTH = 2_000
#: IPv4 addresses in IPv6's clothes, by which a gateway might lead back inside.
TRANSLATED = IPv6Network("64:ff9b::/32")


def wrong_with(url: str, *, allow_http: bool) -> str | None:
    """Say why webhooks cannot go to a URL; None if they can."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is no URL"
    if len(url) > URL_LENGTH or not url.isascii() or not url.isprintable() or " " in url:
        return f"must be plain ASCII without spaces, of {URL_LENGTH:,} characters at most"
    if parts.scheme not in ({"https", "http"} if allow_http else {"https"}):
        return "must begin with https://"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user name or password: the signature says who sends"
    if not parts.hostname or port == 0:
        return "must name a host"
    return None


def is_allowed(address: str, *, allow_private: bool) -> bool:
    """Whether webhooks may be sent to an IP address."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if allow_private:
        return not (found.is_multicast or found.is_unspecified)
    if isinstance(found, IPv6Address):
        if found in TRANSLATED or found.sixtofour or found.teredo:
            return False
        found = found.ipv4_mapped or found
    return found.is_global and not found.is_multicast
