"""Programs for moq-rs, one verb each; JSON lines on stdout, commands or EOF on stdin."""
