"""mechshift: what changes inside a model when it becomes a diffusion model."""
