"""WebSocket on TCP, for networks that block UDP and browsers without WebTransport.

QMux (draft-ietf-quic-qmux, draft-lcurley-qmux-websocket) puts QUIC's streams, flow control
and datagrams into binary messages. Streams share one TCP connection, so a lost packet holds
up all of them: it is the fallback, not the rival.
"""

from moqvox.transport.websocket.connection import WebSocketConnection
from moqvox.transport.websocket.dial import connect_websocket
from moqvox.transport.websocket.facts import ANY_ORIGIN, facts
from moqvox.transport.websocket.http import Http, HttpAnswer, HttpRequest
from moqvox.transport.websocket.limits import Limits
from moqvox.transport.websocket.serve import Listener, listen_websocket
from moqvox.transport.websocket.sockets import bind_all as bind_tcp

__all__ = [
    "ANY_ORIGIN",
    "Http",
    "HttpAnswer",
    "HttpRequest",
    "Limits",
    "Listener",
    "WebSocketConnection",
    "bind_tcp",
    "connect_websocket",
    "facts",
    "listen_websocket",
]
