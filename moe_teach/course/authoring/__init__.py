"""What authors use: sources into notebooks, lessons executed, checks verified, models shipped."""
