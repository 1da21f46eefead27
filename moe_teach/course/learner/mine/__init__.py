"""What the reader wrote and passed with becomes theirs: one small module for each exercise."""
