"""Datasets and label tables; the rendered drive. Nothing here needs torch."""
