"""The zoo: the published network files (ONNX)."""
