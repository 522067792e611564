"""Backends: one module each, imported only when it is asked for (`etcc_edge.engines.backends.BACKENDS`)."""
