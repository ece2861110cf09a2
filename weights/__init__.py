"""Data that ships with refquant, and how it was made.

The embedded model and its images, how both were made, what is known of official files.
"""
