"""A checkpoint becomes a bundle, and is compared with what it was made from."""
