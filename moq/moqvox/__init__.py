"""Media over QUIC for voice AI."""
