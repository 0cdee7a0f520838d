"""Trainer of the pose encoder."""
