"""How the diffusion refiner is trained. Needs torch, diffusers, accelerate and numpy; others where asked for."""
