"""What operators watch: metrics for Prometheus, traces for OpenTelemetry.

It counts and times what it is given. It decides nothing, and nothing depends on what it counted.
"""
