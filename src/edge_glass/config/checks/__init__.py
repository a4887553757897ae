"""Checks that several tasks share: where rows come from, large models."""
