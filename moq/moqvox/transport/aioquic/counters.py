"""What a connection has counted since its start."""

from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.private.aside import Record
from moqvox.transport.interface import Stats

__all__ = ["Counters"]


class Counters:
    """The counters that the engine does not keep; datagrams count as packets received."""

    __slots__ = ("path_changes", "received_bytes", "received_packets", "sent_bytes")

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.received_bytes = 0
        self.received_packets = 0
        self.path_changes = 0

    def stats(self, engine: Engine, waiting_bytes: int, path_probes: int) -> Stats:
        """Take them, with the engine's own and its estimates now."""
        recovery = engine.recovery
        return Stats(
            rtt=recovery.rtt,
            congestion_window_bytes=recovery.congestion_window,
            unsent_bytes=waiting_bytes + engine.unsent_bytes,
            unacked_bytes=recovery.bytes_in_flight,
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
            sent_packets=engine.next_packet_number,
            received_packets=self.received_packets,
            lost_packets=recovery.lost_packets,
            path_changes=self.path_changes,
            path_probes=path_probes,
            copied_bytes=engine.redundancy.copied_bytes,
        )

    def stats_aside(self, record: Record, waiting_bytes: int) -> Stats:
        """Take them while the connection is put aside: of its path nothing is known."""
        return Stats(
            unsent_bytes=waiting_bytes + record.unsent_bytes,
            unacked_bytes=record.unacked_bytes,
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
            sent_packets=record.sent_packets,
            received_packets=self.received_packets,
            path_changes=self.path_changes,
        )
