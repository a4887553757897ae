"""The sections of the experiment file; schema.py puts them together."""
