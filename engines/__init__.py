"""The zoo: the published network files (ONNX), and weights to begin a training from."""
