"""Flows in Arrow columns, in memory and in files. Needs pyarrow (extra ``arrow``)."""
