"""Errors of the command line in one sentence."""

from __future__ import annotations


def explain(message: str) -> str:
    return message
