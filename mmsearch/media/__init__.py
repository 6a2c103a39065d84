"""Bytes to upright RGB, and pictures inside files."""
