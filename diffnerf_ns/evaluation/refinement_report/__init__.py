"""How good a depth refiner is on a capture whose true depth is known: numbers, pictures and a page."""
