"""What a language model can do in the house: one small protocol, and where tools come from."""
