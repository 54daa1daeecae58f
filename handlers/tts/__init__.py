"""Text -> audio: what a voice should read, sentence by sentence, and the voice."""
