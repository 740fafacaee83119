"""What a supervisor tells a worker, and what it hears: JSON lines over the worker's stdin, stdout.

Secrets travel here and nowhere else: not in arguments, which everybody on a machine can read.
"""

import logging
import socket
from pathlib import Path
from typing import Final

import msgspec

from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.quic import Keys
from moqvox_relay.board import Board
from moqvox_relay.config import Config
from moqvox_relay.share import Identity, Share

__all__ = ["MAX_LINE_BYTES", "Job", "Report", "decode_job", "decode_report", "encode", "open_share"]

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
MAX_STRAY: Final = 500


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that makes a waiting process a worker.

    Attributes:
        rows: descriptors of all workers' UDP sockets, in the order of their numbers.
        tcp: descriptors that all workers accept on.
        doors: descriptors that workers listen on for their siblings.
        addresses: of those.
        board: descriptor of the shared counters.
        log_level: least severe of our messages that are wanted.
    """

    worker: int
    config: Config
    chain_pem: bytes
    key_pem: bytes
    fingerprint: str
    secret: bytes
    rows: tuple[tuple[int, ...], ...]
    tcp: tuple[int, ...]
    doors: tuple[int, ...]
    addresses: tuple[tuple[str, int], ...]
    board: int
    log_level: int = logging.WARNING

    def __repr__(self) -> str:
        return f"Job(worker={self.worker})"


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a worker says.

    Attributes:
        is_waiting: it can take a job now.
        is_ready: it serves.
        fault: why it can't.
        message: for the log, with the two that follow.
    """

    is_waiting: bool = False
    is_ready: bool = False
    fault: str = ""
    message: str = ""
    logger: str = ""
    level: int = 0


def encode(what: Job | Report) -> bytes:
    """Write a line."""
    return msgspec.json.encode(what, enc_hook=str) + b"\n"


def decode_job(line: bytes) -> Job:
    """Read what a supervisor wrote."""
    return msgspec.json.decode(line, type=Job, dec_hook=_path)


def decode_report(line: bytes) -> Report:
    """Read what a worker wrote; what a library prints goes to the log."""
    try:
        return msgspec.json.decode(line, type=Report)
    except msgspec.DecodeError:
        words = line[:MAX_STRAY].decode(errors="replace").strip()
        return Report(message=words, logger="moqvox.relay", level=logging.WARNING)


def _path(kind: type, text: object) -> object:
    if kind is Path and isinstance(text, str):
        return Path(text)
    raise NotImplementedError(kind)


def open_share(job: Job) -> Share:
    """Take our part of what was inherited, and close the rest."""
    mine = job.worker
    for number, row in enumerate(job.rows):
        if number != mine:
            for fd in (*row, job.doors[number]):
                socket.socket(fileno=fd).close()
    return Share(
        worker=mine,
        workers=len(job.rows),
        identity=Identity(ServerCertificate(job.chain_pem, job.key_pem), job.fingerprint),
        keys=Keys(job.secret),
        sockets=tuple(socket.socket(fileno=fd) for fd in (*job.rows[mine], *job.tcp)),
        door=socket.socket(fileno=job.doors[mine]),
        doors=job.addresses,
        board=Board(job.board, len(job.rows) + 1),
    )
