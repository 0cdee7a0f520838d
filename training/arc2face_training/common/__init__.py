"""What all trainers share: configs, checkpoints, weight averages, the loop, and where pictures come from."""
