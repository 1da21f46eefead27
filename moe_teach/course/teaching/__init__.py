"""What a teacher takes into the room: talks made of the lessons, and minutes added up."""
