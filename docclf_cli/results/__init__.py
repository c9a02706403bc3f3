"""Frozen values that the engine, the metrics and the services return; one module per theme."""
