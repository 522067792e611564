"""What a flow is: canonical features and units, header dialects, labels, truth, identity, generated flows. ``text/`` is
the way in and out as CSV and ARFF."""
