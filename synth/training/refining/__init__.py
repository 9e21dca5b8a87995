"""Ways to better a release by what real rows say of its samples."""
