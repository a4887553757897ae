"""Plots of a detection run, one file each; see `edge_glass.reporting.plots` for what a file defines."""
