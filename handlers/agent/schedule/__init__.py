"""Timers, alarms and reminders: set by voice, kept over restarts, told where they were set."""
