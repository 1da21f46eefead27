"""Do experts specialise, and in what? Measures of it, each with the null that it must beat."""
