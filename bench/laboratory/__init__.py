"""A laboratory of real tunnels and applications in network namespaces: ``python -m etcc_edge.bench.laboratory``."""
