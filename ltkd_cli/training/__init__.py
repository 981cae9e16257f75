"""The training loop and what feeds it: recipe, sampling, loader, logging."""
