"""What `make` runs: the main job, the table, the movie quote, training from a config. Imports everything below; nothing imports it."""
