"""The moq-lite session, versions 03 to 06."""
