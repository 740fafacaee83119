"""The laboratory: us and what people use today, over the same bad network, measured alike."""
