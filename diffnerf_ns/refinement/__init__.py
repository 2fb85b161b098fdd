"""Stage 1: from what a depth sensor measured to refined depth and how far it can be trusted, in metres."""
