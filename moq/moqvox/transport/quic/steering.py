"""One UDP port, several sockets: the kernel gives each datagram to the worker that its ID names.

SO_REUSEPORT alone spreads by address and port, and every client that changes either would come
to a worker that does not know it. A classic BPF program reads the byte of the connection ID that
`connection_ids` sets aside instead. Linux only.
"""

import contextlib
import ctypes
import errno
import socket
import struct
import sys
from typing import Final

from moqvox.errors import LocalError
from moqvox.transport.address import Address
from moqvox.transport.quic.connection_ids import MAX_STEERING_OFFSET, MAX_WORKERS
from moqvox.transport.quic.sockets import bind
from moqvox.transport.resolve import Target

__all__ = ["bind_group", "can_steer", "program"]

SO_ATTACH_REUSEPORT_CBPF: Final = 51
"""Linux, socket(7). The same number on all architectures but those of parisc and sparc."""

LOAD_BYTE: Final = 0x30
JUMP: Final = 0x05
JUMP_IF_SET: Final = 0x45
MODULO: Final = 0x94
RETURN_A: Final = 0x16
"""Instructions of classic BPF (linux/bpf_common.h), with their modes."""

LONG_HEADER: Final = 0x80
SHORT_ID_AT: Final = 1
LONG_ID_AT: Final = 6
"""Where the destination connection ID begins in a datagram (RFC 8999, section 5)."""


def can_steer() -> bool:
    """Tell whether this system has what workers need."""
    return sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")


def program(workers: int, offset: int) -> list[tuple[int, int, int, int]]:
    """Write the program: code, jumps if true and false, operand, for each instruction.

    A datagram that is too short to read ends the program, which means worker 0.
    """
    if not (1 <= workers <= MAX_WORKERS and 0 <= offset <= MAX_STEERING_OFFSET):
        raise LocalError(f"cannot steer to {workers} workers by byte {offset}")
    return [
        (LOAD_BYTE, 0, 0, 0),
        (JUMP_IF_SET, 0, 2, LONG_HEADER),
        (LOAD_BYTE, 0, 0, LONG_ID_AT + offset),
        (JUMP, 0, 0, 1),
        (LOAD_BYTE, 0, 0, SHORT_ID_AT + offset),
        (MODULO, 0, 0, workers),
        (RETURN_A, 0, 0, 0),
    ]


def bind_group(
    target: Target, workers: int, *, offset: int, buffer_bytes: int
) -> list[socket.socket]:
    """Bind one address once for each worker, in the order of their numbers, and steer.

    Whoever binds them must keep all of them open as long as any is used: the kernel numbers
    them in the order of binding, and closes gaps with the last one.

    Args:
        target: address and port; port 0 picks one for all.
        workers: how many.
        offset: the byte of the connection ID that names the worker.
        buffer_bytes: asked of the kernel for each socket, each direction.

    Raises:
        LocalError: this system can't steer.
        OSError: the address is in use, not ours, or of a family that the machine lacks.
    """
    if not can_steer():
        raise LocalError(f"workers need Linux; {sys.platform} can't steer datagrams to them")
    # A socket that does not share its port finds out whether another server has it: one of
    # the same user could otherwise join our group, or we its.
    with bind(target.family, target.address, buffer_bytes) as probe:
        address: Address = probe.getsockname()
    bound: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        for _ in range(workers):
            sock = bind(target.family, address, buffer_bytes, shared=True)
            bound.append(undo.enter_context(sock))
        _attach(bound[0], program(workers, offset))
        undo.pop_all()
    return bound


def _attach(sock: socket.socket, instructions: list[tuple[int, int, int, int]]) -> None:
    """Set the program of a socket's group (struct sock_fprog, linux/filter.h)."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))
    header = struct.pack("@HP", len(instructions), ctypes.addressof(code))
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, header)
    except OSError as exc:
        if exc.errno in (errno.ENOPROTOOPT, errno.EPERM, errno.EINVAL):
            reason = (exc.strerror or str(exc)).lower()
            raise LocalError(f"this kernel can't steer datagrams to workers: {reason}") from exc
        raise
