"""What happens around the steps of a training: averaging, checkpoints, history, pictures."""
