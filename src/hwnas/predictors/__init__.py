"""What stands in for a measurement: one file per regressor, each held to `Predictor`."""
