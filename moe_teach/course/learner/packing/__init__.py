"""One file that carries notebooks, parts and progress to a teacher, or to another machine."""
