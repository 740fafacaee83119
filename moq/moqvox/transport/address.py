"""Socket addresses, as the engine keeps them and as people read them."""

__all__ = ["Address", "host_of", "show"]

Address = (
    tuple[str, int]
    | tuple[str, int, int, int]
    | tuple[str, int, int]
    | tuple[str, int, int, int, int]
)
"""What `recvfrom` returns for IPv4 and IPv6; the longer forms end in the number of a socket."""


def host_of(address: Address) -> str:
    """Return the host, an IPv4 address in its own form even on a dual-stack socket."""
    host = address[0]
    if host.startswith("::ffff:") and "." in host:
        return host.removeprefix("::ffff:")
    return host


def show(address: Address) -> str:
    """Write `host:port`, IPv6 in brackets."""
    host = host_of(address)
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
