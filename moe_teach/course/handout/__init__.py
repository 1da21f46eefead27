"""What a teacher gives to a class: the hand-out, and the set-up of the platforms that grade it."""
