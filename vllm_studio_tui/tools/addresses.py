"""Which addresses belong to the Internet, and which to this machine or its networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

#: Addresses that hold an IPv4 address, or one of somebody else's network.
_NAT64 = ip_network("64:ff9b::/96")
_OLD = (ip_network("2002::/16"), ip_network("2001::/32"), ip_network("64:ff9b:1::/48"), ip_network("::/96"))


def is_public(text: str) -> bool:
    """Return whether an address is of the Internet; what is no address is not."""
    try:
        address = ip_address(text.split("%", 1)[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return _public(address.ipv4_mapped)
        if address in _NAT64:
            return _public(IPv4Address(int(address) & 0xFFFFFFFF))
        if any(address in one for one in _OLD):
            return False
    return _public(address)


def _public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
