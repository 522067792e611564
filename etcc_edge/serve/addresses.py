"""How much of an address a record shows: labels of people's traffic are personal data."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Mapping
from functools import lru_cache

FULL = "full"
_HASH_BYTES = 8
_PREFIX_BITS = {4: 24, 6: 48}


def address_form(name: str, key: bytes) -> Callable[[str], str]:
    """What becomes of an address's text. ``full``: nothing. ``hashed``: 16 hexadecimal digits of BLAKE2b with ``key``,
    the same for the same address and key. ``prefix``: the network of 24 bits, for IPv6 of 48."""
    return _FORMS[name](key)


def _full(_: bytes) -> Callable[[str], str]:
    return str


def _hashed(key: bytes) -> Callable[[str], str]:
    @lru_cache(maxsize=1 << 16)
    def hashed(address: str) -> str:
        packed = ipaddress.ip_address(address).packed
        return hashlib.blake2b(packed, digest_size=_HASH_BYTES, key=key[:64]).hexdigest()

    return hashed


def _prefix(_: bytes) -> Callable[[str], str]:
    @lru_cache(maxsize=1 << 16)
    def prefix(address: str) -> str:
        version = ipaddress.ip_address(address).version
        return str(ipaddress.ip_network(f"{address}/{_PREFIX_BITS[version]}", strict=False))

    return prefix


_FORMS: Mapping[str, Callable[[bytes], Callable[[str], str]]] = {FULL: _full, "hashed": _hashed, "prefix": _prefix}
ADDRESS_FORMS = tuple(_FORMS)
