"""The folder of a run: its record, and its lock."""
