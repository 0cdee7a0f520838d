"""Training code: the avatar world and one script per model component."""
