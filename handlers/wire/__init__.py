"""Wyoming on a TCP connection: reading with limits, one connection's life, calling a server, finding one.

The event classes are the `wyoming` package's; its reader is not used, because it believes every length that a
header claims and closes without a word.
"""
