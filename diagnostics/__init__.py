"""Callbacks that look at a search and never touch it."""
