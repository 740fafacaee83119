"""One package per peer, run by the interpreter of the peer's own environment."""
