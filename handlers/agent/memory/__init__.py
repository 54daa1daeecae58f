"""What the assistant remembers beyond a conversation: A-MEM notes, in one SQLite journal."""
