"""What `scripts/ablate_refiner.py` is made of: variants, what they are scored on, scores, tables."""
