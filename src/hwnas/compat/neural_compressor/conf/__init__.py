"""The paths of `neural_compressor.conf`."""
