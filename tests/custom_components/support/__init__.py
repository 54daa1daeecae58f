"""What the integration's tests share."""
