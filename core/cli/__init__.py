"""The command lines of runs, evaluations, figures: the only place that reads argv."""
