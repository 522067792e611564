"""Tables, plots and pages of anything, for people."""
