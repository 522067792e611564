"""Labels while packets and rows come: capture, watch, records, sinks, metrics."""
