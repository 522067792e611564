"""Training: labelled flows to a bundle. Needs the ``train`` extra."""
