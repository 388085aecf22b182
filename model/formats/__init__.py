"""Foreign checkpoint layouts, one file each. `model.checkpoint.open_checkpoint` picks among them."""
