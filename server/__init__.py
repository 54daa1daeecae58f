"""The server process: sockets, HTTP, discovery, metrics, and the wiring of the engines."""
