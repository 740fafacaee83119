"""moq-lite messages and streams, versions 03 to 06."""
