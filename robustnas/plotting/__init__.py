"""Drawings of cells, curves and charts."""
