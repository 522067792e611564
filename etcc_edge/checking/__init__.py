"""Whether a flows file can be labelled or trained on: how it is read, what its values are, what gives labels away."""
