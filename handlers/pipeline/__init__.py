"""Audio -> audio: the four stages as one stream, a turn."""
