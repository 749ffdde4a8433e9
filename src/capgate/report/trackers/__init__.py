"""A finished run's numbers and report, sent to an experiment tracker: W&B or MLflow."""
