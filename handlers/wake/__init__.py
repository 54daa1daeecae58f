"""Audio -> detection of a wake word."""
