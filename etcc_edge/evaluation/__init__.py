"""How well a bundle labels flows whose labels are known: scores, and their tables, plots and pages."""
