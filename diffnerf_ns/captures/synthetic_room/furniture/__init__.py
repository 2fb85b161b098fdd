"""Furniture and fittings, each a function of the room's decor that returns an `Assembly` in its own frame."""
