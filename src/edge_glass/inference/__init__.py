"""Load a finished model and use it."""

from edge_glass.inference.search import AlignmentModel, Hit

__all__ = ["AlignmentModel", "Hit"]
