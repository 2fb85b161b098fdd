"""How good a result is, in units that mean something."""
