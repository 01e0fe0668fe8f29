"""Tuning: hyperparameters of an evaluation or a search, alone or with the genotype, by Optuna."""
