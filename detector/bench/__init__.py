"""Figures of the real service on a real broker, beside a bare client in the same run."""
