"""Every touch of aioquic's private parts (aioquic 1.7). Each has a white-box test.

`Engine` is `QuicConnection` with these changes:

- packets of the usual kind, an ACK and bytes of streams, are built and read without looking
  for everything else that might be in them (`plain`, `packets`, `Recovery.on_plain_ack`), on
  upstream's own books: either may go on where the other stopped;
- ranges of numbers are lists (`ranges`);
- the cost of a packet does not grow with idle streams, and priorities rule among the
  others (`streams`);
- flow control is raised by what the application has read, not by what has arrived;
- a finished stream stays until its end was read, so its successor is allowed only then;
- RTT variance as in RFC 9002, section 5.3, and a fresh estimate after a path change;
- single losses shrink the congestion window to three packets, not two (`window`);
- paths are probed before they are used, and the one that was left is asked again (`paths`);
- connection IDs and reset tokens come from an issuer, and a reset is understood (`identified`);
- ACKs of packets never sent close the connection (RFC 9000, section 13.1), and some numbers
  are left out so that guesses are found out; handshake bytes ahead of a gap are few, and
  streams may be abandoned only so fast (`guard`);
- a server's connection whose client keeps silent is put aside, in a tenth of the room (`aside`);
- a server certificate may be pinned, checked before any application key is installed.
"""

from moqvox.transport.aioquic.private.engine import Engine
from moqvox.transport.aioquic.private.receiver import Receiver
from moqvox.transport.aioquic.private.recovery import Recovery
from moqvox.transport.aioquic.private.sender import Sender

__all__ = ["Engine", "Receiver", "Recovery", "Sender"]
