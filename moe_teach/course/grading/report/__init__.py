"""What a teacher shows and a student reads: a page about the class, and one for each student."""
