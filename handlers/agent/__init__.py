"""Text -> text: answers at once what it can, asks a language model about the rest. Wyoming calls this `handle`."""
