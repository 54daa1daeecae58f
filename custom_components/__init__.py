"""Makes the folder a package, as Home Assistant's loader wants it."""
