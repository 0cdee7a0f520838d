"""Training code: the world of people and one script per model component."""
