"""What is said of a picture, as typed fields."""
