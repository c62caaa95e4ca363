"""Which hosts are this machine itself."""

from __future__ import annotations

import re

_IPV4 = re.compile(r"127(?:\.(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can be meant: ``localhost``, 127.0.0.0/8 or ``::1``, in whatever case and spelling.

    Args:
        host: without a port; an IPv6 address with or without its brackets.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" not in bare:
        return bare.lower() == "localhost" or _IPV4.fullmatch(bare) is not None
    import ipaddress

    try:
        return ipaddress.IPv6Address(bare).is_loopback
    except ValueError:
        return False
