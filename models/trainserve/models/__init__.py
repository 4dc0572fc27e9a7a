"""What runs in a training pod: data, zoo, training loop, export, checks, publish."""
