"""Training in PyTorch (the ``train`` extra): samples, augmentation, and a plain training loop."""
