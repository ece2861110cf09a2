"""Data that ships with refquant: hashes of the official files, and what else lies beside this file."""
