"""Runs on the tiny set."""

from toy import run

__all__ = ["run"]
