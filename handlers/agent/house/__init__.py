"""The house: what Home Assistant's integration lends to the agent while it is connected."""
