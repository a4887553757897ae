"""Plots of a run of answers, one file each; see `edge_glass.reporting.plots` for what a file defines."""
