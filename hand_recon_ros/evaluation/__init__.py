"""Measuring: metrics, reports, benchmarks. Never imported at run time."""
