"""Plots of an alignment run, one file each; see `edge_glass.reporting.plots` for what a file defines."""
