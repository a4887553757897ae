"""The report, plots and tables of runs that answer questions (`task: instruction`)."""
