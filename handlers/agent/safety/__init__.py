"""What stands between a request and an action: confirmation, audit, and text that is only data."""
