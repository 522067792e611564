"""Flows in and out as text: CSV and ARFF."""
