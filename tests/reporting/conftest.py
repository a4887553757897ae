"""Fixtures: a reader of pages."""

from __future__ import annotations

from page_reader import read_page as read_page
