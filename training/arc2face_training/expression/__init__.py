"""Trainer of the expression encoder."""
