"""The commands, files and Python names of older tools, as thin translators onto hwnas."""
