"""What changes inside a language model when an autoregressive model becomes a diffusion model."""
