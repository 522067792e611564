"""Measuring: what runs how fast, paired with what it is compared to. Method and figures: README.md."""
