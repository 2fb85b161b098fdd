"""Posed RGB-D frames on disk, in nerfstudio's transforms.json layout."""
