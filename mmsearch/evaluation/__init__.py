"""Measure: recall@k with intervals."""
