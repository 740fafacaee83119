"""QUIC's streams without QUIC's packets (RFC 9000, sections 2 to 4).

What a transport needs that makes its own frames: WebSocket, where QMux carries them, and
memory. No clock, no socket; who decodes frames hands them in, who sends asks what is due.
"""
