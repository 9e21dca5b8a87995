"""What a generator is and how one is made."""
