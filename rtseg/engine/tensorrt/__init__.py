"""TensorRT (the ``tensorrt`` extra): engines built, cached and run on an NVIDIA GPU.

Nothing here imports TensorRT or pycuda before an engine is asked for.
"""
