"""Towers, losses and the closed form."""
