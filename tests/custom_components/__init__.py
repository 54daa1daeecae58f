"""Tests of the Home Assistant integration, in an environment of Home Assistant's."""
