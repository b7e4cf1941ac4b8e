"""Floor 2: models and images on disk, evaluation and the command line."""
