"""The report, plots, tables and samples of runs that find things in pictures (`task: detection`)."""
