"""Collections as Parquet, for other systems and for other houses: all with their space."""
