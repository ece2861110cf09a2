"""Data that ships with refquant: what is known of the official files."""
