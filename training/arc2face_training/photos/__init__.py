"""Photos to train on: reading them from folders, zips, tar files and Parquet, and what was written about them."""
