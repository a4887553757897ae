"""Plots of runs of answers: what they show, and that they step aside when their data is missing."""

from __future__ import annotations
