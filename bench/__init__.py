"""Benchmarks: each measures a running server from outside, as its clients meet it."""
