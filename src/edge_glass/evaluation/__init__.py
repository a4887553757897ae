"""Pure functions of predictions and references: ranks, metrics, intervals, verdict, results."""
