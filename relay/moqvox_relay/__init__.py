"""The relay: between edge and origin, opaque to media, bounded, authorised."""
